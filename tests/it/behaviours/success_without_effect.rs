//! A vendor that reports success and has changed nothing, or not everything, or shows it late
//! (contract 4.1 and 5.3).

use futures_util::future::join;
use records_gateway::sandbox::{CallKind, InjectedFault};
use serde_json::json;

use crate::support::{TestEnv, VendorFixture, for_each_vendor_with};

for_each_vendor_with!(native:
    an_ignored_field_is_reported_as_a_warning,
    a_patch_that_takes_no_effect_is_rejected,
    a_success_response_with_an_unchanged_etag_is_rejected,
    a_change_that_becomes_visible_late_is_read_once_more,
);

async fn an_ignored_field_is_reported_as_a_warning(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.ignore_text)(&env.vendors);
    let before = env.vendor_value(fixture.key).unwrap();
    let mut fields = (fixture.reset_patch)();
    fields[fixture.text] = json!("ignored");
    let patch = env.patch(fixture.key).if_match("*").fields(&fields).prefer("return=representation");
    let response = patch.send().await;
    response.assert_status(200);
    let warning = &response.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(fixture.text_pointer())));
    assert_eq!(env.vendor_value(fixture.key).unwrap(), before);
    assert!((fixture.is_reset)(&env.vendors));
    let operation = env.wait_for_operation(&response).await;
    assert_eq!((&operation["state"], &operation["warnings"][0]["code"]), (&json!("applied"), &json!("not-applied")));
}

async fn a_patch_that_takes_no_effect_is_rejected(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    (fixture.ignore_text)(&env.vendors);
    let before = env.vendor_value(fixture.key).unwrap();
    let response = env.set_text(fixture.key, "*", "ignored").prefer("return=representation").send().await;
    assert_eq!(env.vendor_value(fixture.key).unwrap(), before);
    response.assert_problem(422, "rejected");
    assert_eq!(response.json()["errors"][0]["pointer"], fixture.text_pointer());
    assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
    // The gateway has cached the state that the caller read, so a write without a read is compared
    // too.
    let current_etag = env.current_etag(fixture.key).await;
    let response = env.set_text(fixture.key, &current_etag, "ignored").prefer("return=representation").send().await;
    response.assert_problem(422, "rejected");
    assert_eq!(response.json()["errors"][0]["pointer"], fixture.text_pointer());
    let mut fields = (fixture.reset_patch)();
    fields[fixture.text] = json!("ignored");
    let patch = env.patch(fixture.key).if_match(&env.current_etag(fixture.key).await).fields(&fields);
    let response = patch.prefer("return=representation").send().await;
    response.assert_status(200);
    let warning = &response.json()["warnings"][0];
    assert_eq!((&warning["code"], &warning["pointer"]), (&json!("not-applied"), &json!(fixture.text_pointer())));
}

/// A caller that wants no record makes the gateway read none. Then only a response with the version
/// shows it.
async fn a_success_response_with_an_unchanged_etag_is_rejected(fixture: &'static VendorFixture) {
    let preferences = ["return=representation", "return=minimal"];
    let shown = &fixture.update_response;
    for preference in preferences.into_iter().take(1 + usize::from(shown.has_version)) {
        let env = TestEnv::start(fixture);
        let current_etag = env.current_etag(fixture.key).await;
        env.inject_once(CallKind::Update, (shown.unchanged)(&env.vendors, fixture.key));
        let response = env.set_text(fixture.key, &current_etag, "not applied").prefer(preference).send().await;
        response.assert_problem(422, "rejected");
        assert_eq!(env.wait_for_operation(&response).await["state"], "not-applied");
        assert_eq!((env.write_call_count(), env.current_etag(fixture.key).await), (1, current_etag));
    }
}

/// A state in the vendor's response is the first that is seen; without one a read shows it.
async fn a_change_that_becomes_visible_late_is_read_once_more(fixture: &'static VendorFixture) {
    let env = TestEnv::start(fixture);
    let current_etag = env.current_etag(fixture.key).await;
    env.inject_once(CallKind::Update, (fixture.update_response.unchanged)(&env.vendors, fixture.key));
    let lagging_reads = u32::from(!fixture.update_response.has_record);
    env.faults().add(fixture.read_call_kind, InjectedFault::Hold, lagging_reads, Some(1));
    let reads = 1 + lagging_reads as usize;
    let late = async {
        env.wait_for_calls(fixture.read_call_kind, reads).await;
        (fixture.external_write)(&env.vendors, fixture.key, "shown late");
        env.faults().release();
    };
    let patch = env.set_text(fixture.key, &current_etag, "shown late").prefer("return=representation");
    let (response, ()) = join(patch.send(), late).await;
    response.assert_status(200);
    assert_eq!(response.json()["fields"][fixture.text], "shown late");
    assert_eq!(env.call_count(fixture.read_call_kind), reads);
    assert_eq!(
        (&response.json()["etag"], env.current_etag(fixture.key).await),
        (&json!(response.etag()), response.etag().to_owned())
    );
}
