//! The commands about models: `model draft` and `check --live`.

use records_gateway::app::sandbox::MODELS;
use records_gateway::sandbox::matrix42;

use crate::support::{TestProcess, TestServer};

#[actix_web::test]
async fn a_draft_from_the_vendors_schema_is_a_valid_model() {
    let builder = TestProcess::builder();
    let process = builder.clone().start();
    for (system, collection, drafted_line) in [
        ("crm", "", "since = \"Customer Since\"   # a date or a time"),
        (
            "itsm",
            matrix42::CATEGORY_CLASS,
            "hidden = { at = \"Hidden\", boolean = { true = [true, 1], false = [false, 0] } }",
        ),
        ("sales", "accounts", "industrycode = { at = \"industrycode\", enum = { 1 = \"accounting\""),
        ("architecture", "", "# create = { object_template_id"),
    ] {
        let more: &[&str] = if collection.is_empty() { &[] } else { &["--collection", collection] };
        let drafted = builder.run(&[&["model", "draft", "--system", system], more].concat());
        assert!(drafted.status.success(), "{drafted:?}");
        let draft = String::from_utf8(drafted.stdout).expect("text");
        assert!(draft.contains(drafted_line), "{draft}");
        let server = TestServer::start_with(|config| config.text_of("models", &draft));
        let page = server.client().get(&format!("/models/draft/{system}")).send().await.assert_status(200).json();
        assert!(page["items"].as_array().is_some_and(|items| !items.is_empty()), "{page}\n{draft}");
    }
    let wrong = builder.run(&["model", "draft", "--system", "itsm", "--collection", "no collection"]);
    let error = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && error.contains("--collection"), "{error}");
    drop(process);
}

#[actix_web::test]
async fn a_live_check_finds_members_that_the_vendor_lacks() {
    let start = |models: &str| {
        let builder = TestProcess::builder().configure(|config| config.text_of("models", models));
        (builder.clone().start(), builder)
    };
    let (_process, builder) = start(MODELS);
    let checked = builder.run(&["check", "--live"]);
    assert!(checked.status.success(), "{checked:?}");
    let models = MODELS
        .replace("phone = \"Phone\"", "phone = \"Fone\"")
        .replace("email = \"Email\"", "email = { at = \"Email\", read_only = true }")
        .replace(
            "enum = { Standard = \"basic\", Premium = \"gold\" }",
            "enum = { Standard = \"basic\", Gold = \"gold\" }",
        );
    let (_process, builder) = start(&models);
    let checked = builder.run(&["check", "--live"]);
    assert!(checked.status.success(), "a warning each: {checked:?}");
    let error = String::from_utf8_lossy(&checked.stderr).into_owned();
    for warning in [
        "models.contact.systems.crm.map.phone: warning: the system has no member \"Fone\"; nearest: \"Phone\"",
        "models.contact.systems.crm.map.email: warning: a new record must have \"Email\", which callers cannot set",
        "models.contact.systems.crm.map.tier: warning: no value of the model is meant by Premium",
    ] {
        assert!(error.contains(warning), "{error}");
    }
}
