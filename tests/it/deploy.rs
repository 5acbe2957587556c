//! Dashboard and alerts use the metrics of the program.

use std::collections::BTreeSet;

fn read_file(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in the table of metrics.
fn metric_families() -> BTreeSet<String> {
    let source = read_file("src/metrics/families.rs");
    let table = source.split("families! {\n").nth(1).unwrap().split("\n}\n").next().unwrap().to_owned();
    let names = table.lines().filter(|line| line.contains("\" [")).filter_map(|line| line.split('"').nth(1));
    names.map(str::to_owned).collect()
}

fn first_word(name: &str) -> &str {
    name.split('_').next().unwrap_or_default()
}

/// Every word that has the form of a metric name and begins as one of the gateway's.
fn metric_names_in(text: &str) -> BTreeSet<String> {
    const ENDS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let known = metric_families();
    let firsts: BTreeSet<&str> = known.iter().map(|name| first_word(name)).collect();
    let is_ours = |word: &&str| word.len() > 12 && firsts.contains(first_word(word));
    words
        .filter(is_ours)
        .filter(|word| ENDS.iter().any(|end| word.ends_with(end)) || word.matches('_').count() > 1)
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = read_file("deploy/grafana/records-gateway.json");
    assert!(serde_json::from_str::<serde_json::Value>(&dashboard).is_ok());
    assert!(metric_families().len() > 15);
    let missing: Vec<_> = metric_families().into_iter().filter(|name| !dashboard.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn alerts_and_dashboard_reference_only_existing_metrics() {
    for path in ["deploy/prometheus/alerts.yaml", "deploy/grafana/records-gateway.json"] {
        let text = read_file(path);
        let known = metric_families();
        let unknown: Vec<_> = metric_names_in(&text).into_iter().filter(|name| !known.contains(name)).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

/// What follows a word at the beginning of a line.
fn values_of<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(begin)).map(str::trim).collect()
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_links_it() {
    let rules = read_file("deploy/prometheus/alerts.yaml");
    let alerts = values_of(&rules, "- alert:");
    assert!(alerts.len() > 12, "{alerts:?}");
    let links: Vec<String> =
        alerts.iter().map(|name| format!("https://runbook.example/runbook.md#{}", name.to_ascii_lowercase())).collect();
    assert_eq!(values_of(&rules, "runbook_url:"), links);
    let runbook = read_file("src/docs/runbook.md");
    let sections: BTreeSet<&str> = values_of(&runbook, "## ").into_iter().collect();
    let missing: Vec<_> = alerts.iter().filter(|name| !sections.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_alert_is_tested_where_it_fires_and_where_it_does_not() {
    let rules = read_file("deploy/prometheus/alerts.yaml");
    let tests = read_file("deploy/prometheus/alerts.test.yaml");
    for name in values_of(&rules, "- alert:") {
        let checks: Vec<&str> =
            tests.split("alertname: ").skip(1).filter(|check| check.lines().next() == Some(name)).collect();
        let is_silent = |check: &&str| check.lines().nth(1).is_some_and(|line| line.trim() == "exp_alerts: []");
        assert!(checks.iter().any(is_silent), "{name} is never tested where it must not fire");
        assert!(!checks.iter().all(is_silent), "{name} is never tested where it fires");
    }
}

/// What is built, deployed and documented has one version.
#[test]
fn every_place_names_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read_file("deploy/helm/Chart.yaml");
    for key in ["version: ", "appVersion: "] {
        let values: Vec<_> = chart.lines().filter_map(|line| line.strip_prefix(key)).collect();
        assert_eq!(values.iter().map(|value| value.trim_matches('"')).collect::<Vec<_>>(), [version], "{key}");
    }
    for lock in ["Cargo.lock", "tests/fuzz/Cargo.lock"] {
        let package = format!("name = \"records-gateway\"\nversion = \"{version}\"\n");
        assert!(read_file(lock).contains(&package), "{lock}");
    }
    let openapi: serde_json::Value = serde_json::from_str(&read_file("openapi/openapi.json")).unwrap();
    assert_eq!(openapi["info"]["version"], version);
    for manifests in ["deploy/kubernetes/sqlite.yaml", "deploy/kubernetes/postgres.yaml"] {
        let text = read_file(manifests);
        for begin in ["app.kubernetes.io/version: \"", "helm.sh/chart: records-gateway-", "image: records-gateway:"] {
            let named: BTreeSet<_> = text.lines().filter_map(|line| line.trim_start().strip_prefix(begin)).collect();
            let named: Vec<_> = named.into_iter().map(|rest| rest.trim_end_matches('"')).collect();
            assert_eq!(named, [version], "{manifests}: {begin}");
        }
    }
}
