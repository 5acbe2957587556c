//! What a scrape contains.

use super::families::FAMILIES;
use super::*;
use crate::record::CallerName;

fn metrics() -> (Arc<Metrics>, SystemIndex) {
    let name = SystemName::parse("crm").expect("a name");
    let metrics = Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let index = metrics.index(&name).expect("an index");
    (metrics, index)
}

fn render_text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().expect("text")).expect("UTF-8")
}

/// Every family with at least one series.
fn metrics_with_all_families() -> Arc<Metrics> {
    let name = SystemName::parse("crm").expect("a name");
    let metrics = Metrics::with_caller_label(std::slice::from_ref(&name), true).expect("metrics");
    let crm = metrics.index(&name).expect("an index");
    let caller = CallerName("billing".into());
    metrics.callers().quota_refusal(QuotaPolicy::Rate, Some(&caller));
    metrics.callers().set_key_expiries([(&caller, 1_800_000_000)].into_iter());
    metrics.request(Some(crm), RequestAction::Read, RequestOutcome::Ok, 0.01);
    metrics.vendor_request(crm, VendorRequestKind::Read, CallOutcome::Ok2xx, 0.01);
    metrics.token_expires(crm, 1_800_000_000);
    metrics.vendor_keys_expire([("crm", 1_800_000_000)].into_iter());
    metrics.batch_item(Some(crm), RequestAction::Update, RequestOutcome::Ok);
    metrics.loss_accepted(crm, "linked-questions");
    metrics.rebase(crm, RebaseOutcome::Applied);
    metrics.unknown_writes_ended(crm, 1);
    metrics.model_unmapped_values("contact", 1);
    metrics
}

#[test]
fn every_family_of_the_table_is_rendered_with_its_help() {
    let text = render_text(&metrics_with_all_families());
    for family in FAMILIES {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
        let series = text.lines().any(|line| !line.starts_with('#') && line.starts_with(family.name));
        assert!(series, "{} has no series", family.name);
    }
    assert!(text.contains("process_cpu_seconds_total"));
}

#[test]
fn recorded_values_are_rendered_with_their_labels() {
    let (metrics, crm) = metrics();
    metrics.request(Some(crm), RequestAction::Update, RequestOutcome::Problem(ProblemKind::PreconditionFailed), 0.2);
    metrics.request(None, RequestAction::Other, RequestOutcome::Problem(ProblemKind::OutcomeUnknown), 0.2);
    metrics.vendor_request(crm, VendorRequestKind::Schema, CallOutcome::ConnectionLost, 0.2);
    metrics.vendor_retry(crm, RetryReason::RateLimited);
    metrics.precondition_failure(crm, DetectedBy::Vendor);
    metrics.ledger_entry();
    metrics.ledger_entry();
    metrics.in_flight(Some(crm), 1);
    let while_running = render_text(&metrics);
    metrics.in_flight(Some(crm), -1);
    for line in [
        r#"gateway_requests_total{action="update",outcome="precondition-failed",system="crm"} 1"#,
        r#"gateway_requests_total{action="other",outcome="outcome-unknown",system="none"} 1"#,
        r#"gateway_requests_total{action="delete",outcome="ok",system="crm"} 0"#,
        r#"vendor_requests_total{call="schema",outcome="broken",system="crm"} 1"#,
        r#"vendor_retries_total{reason="rate_limited",system="crm"} 1"#,
        r#"precondition_failures_total{detected_by="vendor",system="crm"} 1"#,
        r#"gateway_in_flight{system="crm"} 1"#,
        "ledger_entries_total 2",
    ] {
        assert!(while_running.lines().any(|shown| shown == line), "{line} not in\n{while_running}");
    }
    assert!(render_text(&metrics).contains("gateway_in_flight{system=\"crm\"} 0\n"));
}

#[test]
fn registered_losses_start_at_zero() {
    let (metrics, crm) = metrics();
    metrics.register_losses(crm, ["dependent-objects"]);
    assert!(render_text(&metrics).contains("losses_accepted_total{loss=\"dependent-objects\",system=\"crm\"} 0\n"));
}

#[test]
fn two_gateways_in_one_process_have_separate_metrics() {
    let ((first, crm), (second, _)) = (metrics(), metrics());
    first.token_refresh(crm, RefreshOutcome::Ok);
    assert!(render_text(&first).contains(r#"token_refreshes_total{outcome="ok",system="crm"} 1"#));
    assert!(render_text(&second).contains(r#"token_refreshes_total{outcome="ok",system="crm"} 0"#));
}

#[test]
fn promtool_reports_no_problems() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else { return };
    promtool
        .stdin
        .take()
        .expect("stdin")
        .write_all(render_text(&metrics_with_all_families()).as_bytes())
        .expect("written");
    let output = promtool.wait_with_output().expect("finished");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.is_empty() && err.is_empty(), "{out}{err}");
}
