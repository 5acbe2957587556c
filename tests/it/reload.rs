//! A configuration that changes while the gateway runs.

use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, InjectedFault, Sandbox, matrix42};

use super::gateway_program::{GatewayProgram, configuration};

const LOG_RELOADED: &str = "the configuration was read again and is in force";
const LOG_REJECTED: &str = "the changed configuration is refused";

fn keys_config(callers: &[(&str, &str)]) -> String {
    let caller = |(name, allow): &(&str, &str)| {
        let digest = const_hex::encode(sha256([format!("key-of-{name}").as_bytes()]));
        format!("[[access.callers]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\nallow = [\"{allow}\"]\n")
    };
    format!("mode = \"keys\"\n{}", callers.iter().map(caller).collect::<String>())
}

fn record_path(system: &str) -> String {
    format!("/records/{system}/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

async fn read_status(program: &GatewayProgram, caller: &str, system: &str) -> u16 {
    let key = format!("Bearer key-of-{caller}");
    program.client().get(&record_path(system)).header("Authorization", &key).send().await.status
}

#[actix_web::test]
async fn a_reload_applies_at_once_and_running_requests_finish_unchanged() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let before = configuration(&vendors, folder.path(), "", &keys_config(&[("ada", "*:*")]));
    let program = GatewayProgram::serve(folder.path(), &before, "info");
    assert_eq!(
        (read_status(&program, "ada", "itsm").await, read_status(&program, "grace", "helpdesk").await),
        (200, 401)
    );

    vendors.matrix42.faults.once(CallKind::Read, InjectedFault::Hold);
    let begun = program.client().get(&record_path("itsm")).header("Authorization", "Bearer key-of-ada");
    let running = actix_web::rt::spawn(begun.send());
    vendors.matrix42.log.wait_for(CallKind::Read, 2).await;

    let after = configuration(&vendors, folder.path(), "", &keys_config(&[("grace", "*:*")]));
    program.write_config(&after.replace("[systems.itsm]", "[systems.helpdesk]\nrequire_if_match = false"));
    program.signal("-HUP");
    program.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(
        (read_status(&program, "grace", "helpdesk").await, read_status(&program, "grace", "itsm").await),
        (200, 404)
    );
    assert_eq!(read_status(&program, "ada", "helpdesk").await, 401);
    let shown = program.client().get("/systems/helpdesk").header("Authorization", "Bearer key-of-grace").send().await;
    assert_eq!(shown.json()["require_if_match"], false);

    vendors.matrix42.faults.release();
    running.await.unwrap().assert_status(200);
    let metrics = program.client().get("/metrics").send().await.text;
    for line in [
        r#"config_reloads_total{outcome="ok",what="configuration"} 1"#,
        r#"gateway_requests_total{action="read",outcome="ok",system="helpdesk"} 1"#,
        r#"gateway_requests_total{action="read",outcome="ok",system="itsm"} 2"#,
        r#"gateway_in_flight{system="itsm"} 0"#,
        r#"vendor_circuit_state{system="helpdesk"} 0"#,
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} not in\n{metrics}");
    }
    assert_eq!(program.stop(), Some(0));
}

#[actix_web::test]
async fn an_invalid_file_changes_nothing_and_every_error_is_logged() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let good = configuration(&vendors, folder.path(), "", &keys_config(&[("ada", "*:*")]));
    let program = GatewayProgram::serve(folder.path(), &good, "info");
    program.write_config(
        &good.replace("mode = \"keys\"", "mode = \"kees\"").replace("[systems.crm]", "[systems.crm]\nzzz = 1"),
    );
    program.wait_for_log(LOG_REJECTED, 1).await;
    let log = program.log();
    assert!(log.contains("access.mode") && log.contains("systems.crm.zzz"), "{log}");
    assert_eq!(read_status(&program, "ada", "itsm").await, 200);

    // Another vendor under the same name would settle writes of the former one.
    let exchanged = good.replace("[systems.itsm]", "[systems.x]").replace("[systems.crm]", "[systems.itsm]");
    program.write_config(&exchanged.replace("[systems.x]", "[systems.crm]"));
    program.wait_for_log(LOG_REJECTED, 2).await;
    assert!(program.log().contains("another vendor under the same name"), "{}", program.log());
    assert_eq!(read_status(&program, "ada", "itsm").await, 200);

    program.write_config(&good.replace("\"*:*\"", "\"itsm:delete\""));
    program.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&program, "ada", "itsm").await, 403);
    let metrics = program.client().get("/metrics").send().await.text;
    assert!(metrics.contains(r#"config_reloads_total{outcome="refused",what="configuration"} 2"#), "{metrics}");
}

#[actix_web::test]
async fn settings_that_need_a_restart_are_logged_and_the_rest_applies() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let before = configuration(&vendors, folder.path(), "", &keys_config(&[("ada", "*:*")]));
    let program = GatewayProgram::serve(folder.path(), &before, "info");
    let elsewhere = tempfile::tempdir().unwrap();
    let more = "ops_bind = \"127.0.0.1:0\"\nworkers = 7\nmax_body = 10\n";
    program.write_config(&configuration(&vendors, elsewhere.path(), more, &keys_config(&[("grace", "*:*")])));
    program.wait_for_log("server.ops_bind, server.workers, store", 1).await;
    assert_eq!(read_status(&program, "grace", "itsm").await, 200);
    assert_eq!(program.client().get("/healthz").send().await.status, 200, "still where it was");
    let long = program.client().request(actix_web::http::Method::PATCH, &record_path("itsm")).if_match("*");
    let long = long.merge_patch("{\"fields\":{\"Description\":\"x\"}}").header("Authorization", "Bearer key-of-grace");
    long.send().await.assert_problem(413, "body-too-large");
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "the store is the former one");
}

#[actix_web::test]
async fn a_system_that_did_not_change_keeps_its_token() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let text = configuration(&vendors, folder.path(), "", &keys_config(&[("ada", "*:*")]));
    let program = GatewayProgram::serve(folder.path(), &text, "info");
    assert_eq!(read_status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 1);
    program.write_config(&text.replace("[systems.crm]", "[systems.crm]\nretries = 1"));
    program.wait_for_log(LOG_RELOADED, 1).await;
    assert_eq!(read_status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 1);
    program.write_config(&text.replace("[systems.itsm]", "[systems.itsm]\nretries = 1"));
    program.wait_for_log(LOG_RELOADED, 2).await;
    assert_eq!(read_status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 2);
}
