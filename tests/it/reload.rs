//! A configuration that changes while the gateway runs.

use records_gateway::record::sha256;
use records_gateway::sandbox::{CallKind, Fault, Sandbox, matrix42};

use super::access_program::{Program, configuration};

const TAKEN: &str = "the configuration was read again and is in force";
const REFUSED: &str = "the changed configuration is refused";

fn keys(callers: &[(&str, &str)]) -> String {
    let caller = |(name, allow): &(&str, &str)| {
        let digest = const_hex::encode(sha256([format!("key-of-{name}").as_bytes()]));
        format!("[[access.callers]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\nallow = [\"{allow}\"]\n")
    };
    format!("mode = \"keys\"\n{}", callers.iter().map(caller).collect::<String>())
}

fn path(system: &str) -> String {
    format!("/records/{system}/{}:{}", matrix42::CATEGORY_CLASS, matrix42::FACILITY_ID)
}

async fn status(program: &Program, caller: &str, system: &str) -> u16 {
    let key = format!("Bearer key-of-{caller}");
    program.caller().get(&path(system)).header("Authorization", &key).send().await.status
}

#[actix_web::test]
async fn callers_systems_and_policies_change_at_once_and_what_runs_ends_as_it_began() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let before = configuration(&vendors, folder.path(), "", &keys(&[("ada", "*:*")]));
    let program = Program::serve(folder.path(), &before, "info");
    assert_eq!((status(&program, "ada", "itsm").await, status(&program, "grace", "helpdesk").await), (200, 401));

    vendors.matrix42.faults.once(CallKind::Read, Fault::Hold);
    let begun = program.caller().get(&path("itsm")).header("Authorization", "Bearer key-of-ada");
    let running = actix_web::rt::spawn(begun.send());
    vendors.matrix42.log.wait_for(CallKind::Read, 2).await;

    let after = configuration(&vendors, folder.path(), "", &keys(&[("grace", "*:*")]));
    program.write(&after.replace("[systems.itsm]", "[systems.helpdesk]\nrequire_if_match = false"));
    program.signal("-HUP");
    program.says(TAKEN, 1).await;
    assert_eq!((status(&program, "grace", "helpdesk").await, status(&program, "grace", "itsm").await), (200, 404));
    assert_eq!(status(&program, "ada", "helpdesk").await, 401);
    let shown = program.caller().get("/systems/helpdesk").header("Authorization", "Bearer key-of-grace").send().await;
    assert_eq!(shown.json()["require_if_match"], false);

    vendors.matrix42.faults.release();
    running.await.unwrap().is_done(200);
    let metrics = program.caller().get("/metrics").send().await.text;
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
async fn a_bad_file_changes_nothing_and_is_told_with_every_fault() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let good = configuration(&vendors, folder.path(), "", &keys(&[("ada", "*:*")]));
    let program = Program::serve(folder.path(), &good, "info");
    program
        .write(&good.replace("mode = \"keys\"", "mode = \"kees\"").replace("[systems.crm]", "[systems.crm]\nzzz = 1"));
    program.says(REFUSED, 1).await;
    let log = program.log();
    assert!(log.contains("access.mode") && log.contains("systems.crm.zzz"), "{log}");
    assert_eq!(status(&program, "ada", "itsm").await, 200);

    // Another vendor under the same name would settle writes of the former one.
    let exchanged = good.replace("[systems.itsm]", "[systems.x]").replace("[systems.crm]", "[systems.itsm]");
    program.write(&exchanged.replace("[systems.x]", "[systems.crm]"));
    program.says(REFUSED, 2).await;
    assert!(program.log().contains("another vendor under the same name"), "{}", program.log());
    assert_eq!(status(&program, "ada", "itsm").await, 200);

    program.write(&good.replace("\"*:*\"", "\"itsm:delete\""));
    program.says(TAKEN, 1).await;
    assert_eq!(status(&program, "ada", "itsm").await, 403);
    let metrics = program.caller().get("/metrics").send().await.text;
    assert!(metrics.contains(r#"config_reloads_total{outcome="refused",what="configuration"} 2"#), "{metrics}");
}

#[actix_web::test]
async fn what_only_a_restart_can_change_is_named_and_the_rest_is_in_force() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let before = configuration(&vendors, folder.path(), "", &keys(&[("ada", "*:*")]));
    let program = Program::serve(folder.path(), &before, "info");
    let elsewhere = tempfile::tempdir().unwrap();
    let more = "ops_bind = \"127.0.0.1:0\"\nworkers = 7\nmax_body = 10\n";
    program.write(&configuration(&vendors, elsewhere.path(), more, &keys(&[("grace", "*:*")])));
    program.says("server.ops_bind, server.workers, store", 1).await;
    assert_eq!(status(&program, "grace", "itsm").await, 200);
    assert_eq!(program.caller().get("/healthz").send().await.status, 200, "still where it was");
    let long = program.caller().request(actix_web::http::Method::PATCH, &path("itsm")).if_match("*");
    let long = long.merge("{\"fields\":{\"Description\":\"x\"}}").header("Authorization", "Bearer key-of-grace");
    long.send().await.is(413, "body-too-large");
    assert!(std::fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "the store is the former one");
}

#[actix_web::test]
async fn a_system_that_did_not_change_keeps_its_token() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let text = configuration(&vendors, folder.path(), "", &keys(&[("ada", "*:*")]));
    let program = Program::serve(folder.path(), &text, "info");
    assert_eq!(status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 1);
    program.write(&text.replace("[systems.crm]", "[systems.crm]\nretries = 1"));
    program.says(TAKEN, 1).await;
    assert_eq!(status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 1);
    program.write(&text.replace("[systems.itsm]", "[systems.itsm]\nretries = 1"));
    program.says(TAKEN, 2).await;
    assert_eq!(status(&program, "ada", "itsm").await, 200);
    assert_eq!(vendors.matrix42.log.count(CallKind::SignIn), 2);
}
