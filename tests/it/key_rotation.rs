//! Keys of callers and secrets of vendors change under load, without a failed request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::rt::task::JoinHandle;
use records_gateway::record::sha256;
use records_gateway::sandbox::{bluedolphin, matrix42};
use serde_json::json;
use toml::{Table, Value};

use super::support::{TestConfig, TestProcess};

const LOG_RELOADED: &str = "the configuration was reloaded and is in force";

fn record_path() -> String {
    format!("/records/itsm/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

fn digest(key: &str) -> String {
    const_hex::encode(sha256([key.as_bytes()]))
}

fn key(key: &str, not_after: Option<&str>) -> Value {
    let entries = [("sha256", Some(digest(key))), ("not_after", not_after.map(str::to_owned))];
    let entries = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Value::Table(entries.collect::<Table>())
}

fn with_keys(config: TestConfig, keys: Vec<Value>) -> TestConfig {
    config.api_keys(&[("ada", "old", "*:*")]).caller("ada", "key_sha256", keys)
}

async fn status(process: &TestProcess, key: &str) -> (u16, String) {
    let authorization = format!("Bearer {key}");
    let response = process.client().get(&record_path()).header("Authorization", &authorization).send().await;
    (response.status, response.text)
}

async fn reload(process: &TestProcess, config: &TestConfig, times: usize) {
    process.write_config(config);
    process.signal("-HUP");
    process.wait_for_log(LOG_RELOADED, times).await;
}

/// Callers that read one record again and again, each with a count of its responses. Every response
/// is a 200.
struct Load {
    served: Rc<RefCell<[usize; 4]>>,
    stop: Rc<Cell<bool>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(process: &TestProcess, path: &str, key: &Rc<Cell<&'static str>>) -> Self {
        let (served, stop) = (Rc::new(RefCell::new([0; 4])), Rc::new(Cell::new(false)));
        let call = |caller: usize| {
            let (client, path, key) = (process.client(), path.to_owned(), Rc::clone(key));
            let (served, stop) = (Rc::clone(&served), Rc::clone(&stop));
            actix_web::rt::spawn(async move {
                while !stop.get() {
                    let authorization = format!("Bearer {}", key.get());
                    client.get(&path).header("Authorization", &authorization).send().await.assert_status(200);
                    served.borrow_mut()[caller] += 1;
                }
            })
        };
        let callers = (0..4).map(call).collect();
        Self { served, stop, callers }
    }

    /// Waits until every caller has had the response to a request that it sent after now: the one
    /// under way ends before.
    async fn wait_for_progress(&self) {
        let before = *self.served.borrow();
        while !self.served.borrow().iter().zip(before).all(|(now, before)| *now >= before + 2) {
            assert!(self.callers.iter().all(|caller| !caller.is_finished()), "a request failed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.stop.set(true);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

#[actix_web::test]
async fn a_key_is_replaced_under_load_without_a_failed_request() {
    let process = TestProcess::start_with(|config| with_keys(config, vec![digest("old").into()]));
    let current = Rc::new(Cell::new("old"));
    let load = Load::start(&process, &record_path(), &current);
    load.wait_for_progress().await;
    let both = vec![key("old", None), key("new", None)];
    reload(&process, &with_keys(process.config(), both), 1).await;
    current.set("new");
    // Requests with the former key end before it is withdrawn.
    load.wait_for_progress().await;
    reload(&process, &with_keys(process.config(), vec![key("new", None)]), 2).await;
    load.wait_for_progress().await;
    load.stop().await;
    assert_eq!(status(&process, "old").await.0, 401);
}

#[actix_web::test]
async fn an_expired_key_is_401_with_that_reason() {
    let process = TestProcess::start_with(|config| {
        let keys = vec![key("old", Some("2026-01-01T00:00:00Z")), key("new", Some("2999-01-01T00:00:00+01:00"))];
        with_keys(config, keys).metrics("caller_label", true)
    });
    let (code, text) = status(&process, "old").await;
    assert!(code == 401 && text.contains("this key has expired"), "{text}");
    let (code, text) = status(&process, "unknown").await;
    assert!(code == 401 && !text.contains("expired"), "{text}");
    assert_eq!(status(&process, "new").await.0, 200);
    let metrics = process.client().get("/metrics").send().await.text;
    assert!(metrics.contains(r#"caller_key_expires_timestamp_seconds{caller="ada"} 32472140400"#), "{metrics}");
}

#[actix_web::test]
async fn a_vendor_secret_is_replaced_under_load_without_a_failure() {
    let process = TestProcess::start_with(|config| config.access("mode", "open"));
    let path = format!("/records/architecture/object-definitions:{}", bluedolphin::NEW_APPLICATION_ID);
    let load = Load::start(&process, &path, &Rc::new(Cell::new("")));
    load.wait_for_progress().await;
    // The vendor does not know the new secret yet.
    let both: Vec<Value> = vec!["the-next-key".into(), bluedolphin::API_KEY.into()];
    reload(&process, &process.config().system("architecture", "api_key", both), 1).await;
    load.wait_for_progress().await;
    let metrics = process.client().get("/metrics").send().await.text;
    assert!(metrics.contains(r#"credential_fallbacks_total{system="architecture"} 1"#), "{metrics}");
    let known_first: Vec<Value> = vec![bluedolphin::API_KEY.into(), "the-former-key".into()];
    reload(&process, &process.config().system("architecture", "api_key", known_first), 2).await;
    load.wait_for_progress().await;
    load.stop().await;
    let log = process.stop_and_read_log();
    assert!(log.contains("the vendor rejects the first secret"), "{log}");
    assert!(!log.contains("the-next-key") && !log.contains(bluedolphin::API_KEY), "{log}");
}

#[actix_web::test]
async fn the_expiry_in_a_vendors_key_is_shown_until_the_key_is_replaced() {
    // {"exp":1893456000}
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE4OTM0NTYwMDB9.signature";
    let process = TestProcess::start_with(|config| config.access("mode", "open").system("itsm", "api_token", token));
    let shown = async || {
        let metrics = process.client().get("/metrics").send().await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("vendor_key_expires_timestamp_seconds"));
        let health = process.client().get("/systems/itsm").send().await.json()["health"]["key_expires"].clone();
        (line.map(str::to_owned), health)
    };
    assert_eq!(shown().await, (Some(r#"{system="itsm"} 1893456000"#.into()), "2030-01-01T00:00:00.000Z".into()));
    reload(&process, &process.config().system("itsm", "api_token", "a-token-that-says-nothing"), 1).await;
    assert_eq!(shown().await, (None, serde_json::Value::Null));
}

#[actix_web::test]
async fn a_stream_ends_when_its_key_is_withdrawn() {
    let process = TestProcess::start_with(|config| with_keys(config, vec![key("old", None), key("new", None)]));
    let request = |name: &str| process.client().get("/changes?since=now").header("Authorization", name);
    let mut withdrawn = request("Bearer old").open_stream().await;
    let mut kept = request("Bearer new").open_stream().await;
    withdrawn.next().await.expect("its position");
    reload(&process, &with_keys(process.config(), vec![key("new", None)]), 1).await;
    let update = process.client().request(Method::PATCH, &record_path()).header("Authorization", "Bearer new");
    update.if_match("*").fields(&json!({ "Name": "seen" })).send().await.assert_status(204);
    assert_eq!(kept.next_event().await.1["type"], "records-gateway.record.updated");
    assert_eq!(withdrawn.next().await, None, "the stream of the withdrawn key");
}
