//! A gateway behind a proxy that strips a prefix of the path.

use super::support::{MATRIX42, TestEnv};

const EXTERNAL_URL: &str = "https://api.example/gateway";

#[actix_web::test]
async fn urls_in_responses_begin_with_the_external_url() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("external_url", format!("{EXTERNAL_URL}/")));
    let tag = env.current_etag(MATRIX42.key).await;
    let starts_with = |value: &str, path: &str| value.starts_with(&format!("{EXTERNAL_URL}{path}"));

    let patched = env.set_text(MATRIX42.key, &tag, "new").prefer("return=representation").send().await;
    assert!(starts_with(patched.header("operation").unwrap(), "/operations/"), "{patched:?}");
    assert!(starts_with(patched.header("content-location").unwrap(), "/records/itsm/"), "{patched:?}");
    let created = env.create("new").send().await;
    assert!(starts_with(created.assert_status(201).header("location").unwrap(), "/records/itsm/"), "{created:?}");
    let list = env.get(&format!("/records/itsm?collection={}&limit=1", MATRIX42.collection())).send().await;
    assert!(starts_with(&list.header("link").unwrap()[1..], "/records/itsm?"), "{list:?}");

    let missing = env.read(MATRIX42.missing_key).send().await;
    missing.assert_problem(404, "record-not-found");
    assert_eq!(missing.json()["type"], format!("{EXTERNAL_URL}/problems/record-not-found"));
    let docs = env.get("/docs").send().await;
    assert_eq!(docs.header("location"), Some("https://api.example/gateway/docs/"));
    let document = env.get("/openapi.json").send().await.json();
    assert_eq!(document["servers"][0]["url"], EXTERNAL_URL);
    let initializer = env.get("/docs/swagger-initializer.js").send().await.text;
    assert!(initializer.contains("'../openapi.json'"), "{initializer}");
}
