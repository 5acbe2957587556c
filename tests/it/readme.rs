//! The commands of the README do what it describes, and the tables of `reference.md` agree with the
//! code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use records_gateway::app::sandbox::MODELS as SANDBOX_MODELS;
use records_gateway::config::Config;
use records_gateway::metrics::{CallOutcome, Metrics, QuotaPolicy, RequestAction, RequestOutcome, UnknownWriteCounts};
use records_gateway::problem::ProblemKind;
use records_gateway::problem::failure_log::{OPTIONAL_FIELDS, REQUIRED_FIELDS};
use records_gateway::record::{CallerName, SystemName, VendorRequestKind};
use records_gateway::sandbox::{Sandbox, SandboxSystem};
use serde_json::{Value, json};

use crate::support::{MATRIX42, TestEnv, TestResponse};

fn read_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the table below a heading, without the head of the table.
fn table_rows(document: &str, heading: &str) -> Vec<String> {
    let section =
        document.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    section.filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect()
}

/// What stands in backticks.
fn code_words(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

fn assert_table(heading: &str, expected: &[String]) {
    let rows = table_rows(&read_file("src/docs/reference.md"), heading);
    assert_eq!(rows, expected, "reference.md, {heading} must be\n{}", expected.join("\n"));
}

#[test]
fn the_problem_table_matches_the_code() {
    let row = |problem: &ProblemKind| {
        let spec = problem.spec();
        let retryable = if spec.retryable { "yes" } else { "no" };
        format!("| `{}` | {} | {retryable} | {} |", spec.name, spec.status, spec.meaning)
    };
    assert_table("## Problems", &ProblemKind::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_contract_lists_every_problem_with_its_status() {
    let rows = table_rows(&read_file("src/docs/contract.md"), "### 4.7 Problems");
    // The section has two tables; that of the members has two columns.
    let cells = rows.iter().map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let documented: Vec<String> = cells
        .filter(|cells| cells.len() == 3 && cells[0].starts_with('`'))
        .map(|cells| format!("{} {}", cells[0].trim_matches('`'), &cells[1][..3]))
        .collect();
    let status = |problem: &ProblemKind| format!("{} {}", problem.as_str(), problem.spec().status);
    assert_eq!(documented, ProblemKind::ALL.iter().map(status).collect::<Vec<_>>());
}

#[test]
fn the_contract_lists_every_member_of_a_log_line() {
    let rows = table_rows(&read_file("src/docs/contract.md"), "### Log");
    let first_cells = rows.iter().map(|row| row.split('|').nth(1).unwrap_or_default());
    let documented: BTreeSet<&str> = first_cells.flat_map(code_words).collect();
    assert_eq!(documented, REQUIRED_FIELDS.into_iter().chain(OPTIONAL_FIELDS).collect());
}

/// Every family with a series, as text.
fn render_metrics() -> String {
    let system = SystemName::parse("crm").unwrap();
    let metrics = Metrics::with_caller_label(std::slice::from_ref(&system), true).unwrap();
    let index = metrics.index(&system).unwrap();
    metrics.request(Some(index), RequestAction::Read, RequestOutcome::Ok, 0.01);
    metrics.vendor_request(index, VendorRequestKind::Read, CallOutcome::Ok2xx, 0.01);
    metrics.token_expires(index, 1_800_000_000);
    metrics.vendor_keys_expire([("crm", 1_800_000_000)].into_iter());
    metrics.unknown_writes_stored(index, UnknownWriteCounts::stored(0, 1, 1_800_000_000));
    metrics.loss_accepted(index, "linked-questions");
    let caller = CallerName("billing".into());
    metrics.callers().quota_refusal(QuotaPolicy::Rate, Some(&caller));
    metrics.callers().set_key_expiries([(&caller, 1_800_000_000)].into_iter());
    metrics.batch_item(Some(index), RequestAction::Update, RequestOutcome::Ok);
    metrics.model_unmapped_values("contact", 1);
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

/// Families with their labels, without those of the process.
fn metric_families(text: &str) -> BTreeSet<(String, Vec<String>, String)> {
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let own = help.filter(|(name, _)| !name.starts_with("process_"));
    let labels_of = |name: &str| {
        let series = text.lines().find(|line| !line.starts_with('#') && line.starts_with(name)).unwrap();
        let labels = series.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        let names = labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        let mut names: Vec<_> = names.filter(|name| name != "le").collect();
        names.sort();
        names
    };
    own.map(|(name, help)| (name.to_owned(), labels_of(name), help.to_owned())).collect()
}

#[test]
fn the_metric_table_matches_the_code() {
    let families = metric_families(&render_metrics());
    let rows = table_rows(&read_file("src/docs/reference.md"), "## Metrics");
    let documented: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let mut labels: Vec<_> = code_words(cells[1]).map(str::to_owned).collect();
            labels.sort();
            (code_words(cells[0]).next().unwrap().to_owned(), labels, cells[2].to_owned())
        })
        .collect();
    assert_eq!(documented, families);
}

#[test]
fn the_contract_lists_every_metric_with_its_labels() {
    let rows = table_rows(&read_file("src/docs/contract.md"), "## 6 Metrics");
    let documented: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let mut labels: Vec<_> = code_words(cells[1]).map(str::to_owned).collect();
            labels.sort();
            (code_words(cells[0]).next().unwrap().to_owned(), labels)
        })
        .collect();
    let families = metric_families(&render_metrics());
    assert_eq!(documented, families.into_iter().map(|(name, labels, _)| (name, labels)).collect());
}

#[test]
fn the_contract_lists_every_action_of_the_metrics() {
    let contract = read_file("src/docs/contract.md");
    let (_, rest) = contract.split_once("\n`action` is one of ").expect("the list of actions");
    let (list, _) = rest.split_once(".\n").expect("the end of the list");
    let actions: Vec<&str> = RequestAction::ALL.iter().map(|action| action.as_str()).collect();
    let documented: BTreeSet<&str> = code_words(list).collect();
    assert_eq!(documented, actions.into_iter().collect());
}

#[test]
fn the_header_table_has_every_header_of_the_openapi_document() {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if members.get("in").is_some_and(|place| place == "header") {
                    names.extend(members["name"].as_str().map(str::to_owned));
                }
                // A property of a schema may have this name, too; it has a type.
                let headers = members.get("headers").filter(|headers| headers.get("type").is_none());
                if let Some(Value::Object(headers)) = headers {
                    names.extend(headers.keys().cloned());
                }
                members.values().for_each(|member| collect(member, names));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    collect(&serde_json::from_str(&read_file("openapi/openapi.json")).unwrap(), &mut names);
    assert!(names.len() > 15, "{names:?}");
    let rows = table_rows(&read_file("src/docs/reference.md"), "## Headers");
    let documented: BTreeSet<&str> = rows.iter().flat_map(|row| code_words(row)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !documented.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_dependency_has_a_documented_reason() {
    let manifest = read_file("Cargo.toml");
    let mut section = "";
    let mut dependencies = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if matches!(section, "[dependencies]" | "[dev-dependencies]") && !line.starts_with('#') {
            dependencies.extend(line.split_once(" = ").map(|(name, _)| name));
        }
    }
    assert!(dependencies.len() > 20);
    let rows = table_rows(&read_file("src/docs/reference.md"), "## Crates");
    let documented: BTreeSet<&str> =
        rows.iter().flat_map(|row| code_words(row.split('|').nth(1).unwrap_or_default())).collect();
    assert_eq!(documented, dependencies);
}

/// The contents of the code blocks of a language, in their order.
fn code_blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect()
}

/// Splits a command as a shell does, as far as the README needs: blanks, single quotes, continued
/// lines.
fn split_command(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (place, part) in command.replace("\\\n", " ").split('\'').enumerate() {
        if place % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        let mut pieces = part.split_whitespace();
        if part.starts_with(char::is_whitespace) {
            words.push(String::new());
        }
        words.last_mut().unwrap().push_str(pieces.next().unwrap_or_default());
        words.extend(pieces.map(str::to_owned));
        if part.ends_with(char::is_whitespace) {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Sends what a `curl` command sends.
async fn send_command(gateway: &TestEnv, command: &str) -> TestResponse {
    let words = split_command(command);
    let after = |option: &str| -> Vec<&str> {
        let pairs = words.iter().zip(words.iter().skip(1));
        pairs.filter(|(word, _)| *word == option).map(|(_, value)| value.as_str()).collect()
    };
    let method = after("-X").first().map_or(Method::GET, |method| method.parse().unwrap());
    // The second is the port of the guide to models.
    let bases = ["http://127.0.0.1:8080", "http://127.0.0.1:8081"];
    let path = words.last().and_then(|url| bases.iter().find_map(|base| url.strip_prefix(base))).unwrap();
    let mut request = gateway.request(method, path);
    for header in after("-H") {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    if let Some(body) = after("-d").first() {
        request = request.body(body);
    }
    request.send().await
}

/// The document shows the headers of the response that its reader compares.
fn assert_headers_are_shown(response: &TestResponse, document: &str) {
    for name in ["etag", "concurrency-guarantee", "preference-applied"] {
        let Some(value) = response.header(name) else { continue };
        assert!(document.contains(&format!("{name}: {value}")), "{name}: {value}");
    }
}

#[actix_web::test]
async fn the_curl_examples_of_the_readme_return_what_it_shows() {
    let readme = read_file("README.md");
    let commands: Vec<_> = code_blocks(&readme, "sh").into_iter().filter(|block| block.starts_with("curl ")).collect();
    let [read, change] = commands.as_slice() else { panic!("two commands: {commands:?}") };
    let gateway = TestEnv::start(&MATRIX42);
    for (command, status) in [(read, 200), (change, 204), (change, 412)] {
        let response = send_command(&gateway, command).await;
        response.assert_status(status);
        assert_headers_are_shown(&response, &readme);
        if status == 412 {
            let tag = response.json()["current_etag"].to_string();
            let changed = response.json()["changed"].to_string();
            let shown = format!("\"current_etag\":{tag},\"changed\":{changed}");
            assert!(readme.contains(&shown), "{shown}");
        }
    }
}

/// The asynchronous batch of the guide, followed to its end and sent again.
async fn assert_stored_batch(gateway: &TestEnv, store: &str, follow: &str, cancel: &str) {
    let stored = send_command(gateway, store).await;
    let location = stored.assert_status(202).header("location").unwrap().to_owned();
    let id = location.rsplit('/').next().unwrap();
    let (follow, cancel) = (follow.replace("ID", id), cancel.replace("ID", id));
    let until = Instant::now() + Duration::from_secs(10);
    let batch = loop {
        let batch = send_command(gateway, &follow).await.assert_status(200).json();
        if batch["state"] == "done" || Instant::now() > until {
            break batch;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&batch["state"], &batch["summary"]["ok"]), (&json!("done"), &json!(1)), "{batch}");
    let again = send_command(gateway, store).await;
    again.assert_status(202);
    assert_eq!((again.header("location"), again.header("idempotency-replayed")), (Some(&*location), Some("true")));
    send_command(gateway, &cancel).await.assert_status(202);
}

#[actix_web::test]
async fn the_readme_changes_a_model_in_two_systems_with_the_same_lines() {
    let readme = read_file("README.md");
    let loops: Vec<_> = code_blocks(&readme, "sh").into_iter().filter(|block| block.starts_with("for ")).collect();
    let [whole] = loops.as_slice() else { panic!("one loop: {loops:?}") };
    let (head, body) = whole.split_once("; do\n").unwrap();
    let assets: Vec<&str> = head.strip_prefix("for asset in ").unwrap().split(' ').collect();
    let gateway = TestEnv::start_with(&MATRIX42, |config| config.text_of("models", SANDBOX_MODELS));
    assert_eq!(assets.len(), 2, "{assets:?}");
    for asset in assets {
        let command = body.strip_suffix("\ndone\n").unwrap().replace("$asset", asset);
        let renamed = send_command(&gateway, command.trim()).await.assert_status(200).json();
        assert_eq!((&renamed["fields"]["name"], &renamed["model"]), (&json!("Renamed"), &json!("asset")), "{renamed}");
    }
}

#[test]
fn the_guide_configures_the_sandboxs_vendors_and_its_model() {
    let guide = read_file("src/docs/models.md");
    let (_, rest) = guide.split_once("(printf '").unwrap();
    let head = rest.split_once("'\n").unwrap().0.replace("\\n", "\n");
    let vendors = Sandbox::start().unwrap();
    // Each fake vendor serves the table of its system.
    let systems: String = vendors.systems().iter().map(SandboxSystem::to_toml).collect();
    let model = code_blocks(&guide, "toml").concat().replace("\n   ", "\n");
    let text = [head, systems, model].concat();
    let config = Config::parse(&text, "gateway.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config.models.len(), 1);
}

#[actix_web::test]
async fn the_commands_of_the_guide_return_what_it_describes() {
    let guide = read_file("src/docs/many-records.md");
    let commands: Vec<_> = code_blocks(&guide, "sh").into_iter().filter(|block| block.starts_with("curl ")).collect();
    let [batch, stale, lines, store, follow, cancel, rest @ ..] = commands.as_slice() else {
        panic!("commands: {commands:?}")
    };
    let [linked, compare, rebase, overlap, preview, preview_delete, apply, queued] = rest else {
        panic!("fourteen commands: {commands:?}")
    };
    let gateway = TestEnv::start(&MATRIX42);
    send_command(&gateway, batch).await.assert_status(200);
    let again = send_command(&gateway, batch).await;
    assert_eq!(again.assert_status(200).json()["items"][1]["headers"]["idempotency-replayed"], "true");
    let refused = send_command(&gateway, stale).await;
    assert_eq!(refused.assert_status(207).json()["items"][0]["status"], 412);
    let lines = send_command(&gateway, lines).await.assert_status(200).text.clone();
    assert!(lines.lines().last().unwrap().starts_with("{\"summary\":"), "{lines}");
    assert_stored_batch(&gateway, store, follow, cancel).await;
    let created = send_command(&gateway, linked).await;
    assert_eq!(created.assert_status(200).json()["summary"]["ok"], 2, "{created:?}");
    assert!(send_command(&gateway, compare).await.assert_status(409).problem() == "patch-test-failed");
    let rebased = send_command(&gateway, rebase).await.assert_status(200).json();
    assert_eq!(rebased["warnings"][0]["moved"], json!(["/fields/Description"]), "{rebased}");
    let overlapping = send_command(&gateway, overlap).await.assert_status(412).json();
    assert_eq!(overlapping["overlap"], json!(["/fields/Description"]), "{overlapping}");
    send_command(&gateway, preview_delete).await.assert_status(200);
    let plan = send_command(&gateway, preview).await.assert_status(200).json()["plan"].clone();
    let apply = apply.replace("PLAN", plan.as_str().unwrap());
    send_command(&gateway, &apply).await.assert_status(204);
    assert_eq!(send_command(&gateway, &apply).await.assert_status(409).problem(), "plan-changed");
    let queued = send_command(&gateway, queued).await;
    queued.assert_status(200);
    assert_headers_are_shown(&queued, &guide);
}

#[actix_web::test]
async fn the_guide_to_models_is_true_line_by_line() {
    let guide = read_file("src/docs/models.md");
    let tables: Vec<_> = code_blocks(&guide, "toml");
    let [model] = tables.as_slice() else { panic!("one model: {tables:?}") };
    let models = [SANDBOX_MODELS, model].concat();
    let gateway = TestEnv::start_with(&MATRIX42, |config| config.text_of("models", &models));
    let commands: Vec<_> = code_blocks(&guide, "sh").into_iter().filter(|block| block.starts_with("curl ")).collect();
    let [item, definition, rename_item, rename_definition, gold, create, all] = commands.as_slice() else {
        panic!("seven commands: {commands:?}")
    };
    for read in [item, definition] {
        let fields = send_command(&gateway, read).await.assert_status(200).json()["fields"].take();
        assert!(fields["name"].is_string() && fields["active"].is_boolean(), "{fields}");
    }
    for rename in [rename_item, rename_definition] {
        let renamed = send_command(&gateway, rename).await.assert_status(200).json();
        assert_eq!(renamed["fields"]["name"], "Renamed", "{renamed}");
    }
    let listed = send_command(&gateway, gold).await.assert_status(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
    let created = send_command(&gateway, create).await.assert_status(201).json();
    assert_eq!((&created["fields"]["tier"], &created["fields"]["since"]), (&json!("gold"), &json!("2026-02-28")));
    let mut page = send_command(&gateway, all).await.assert_status(200).json();
    let mut emails: Vec<String> = Vec::new();
    loop {
        assert_eq!(page["unreachable"], json!([]));
        let items = page["items"].as_array().unwrap();
        emails.extend(items.iter().filter_map(|item| item["fields"]["email"].as_str().map(str::to_owned)));
        let Some(cursor) = page["next"].as_str() else { break };
        page = gateway.get(&format!("/models/customer?cursor={cursor}")).send().await.assert_status(200).json();
    }
    for email in ["joan@example.com", "yvonne@example.com"] {
        assert!(emails.iter().any(|one| one == email), "{emails:?}");
    }
}
