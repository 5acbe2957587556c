//! The console's files, and the front page beside them. `tests/tools/console.mjs` opens them in a
//! browser.

use super::support::{MATRIX42, TestEnv};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The files that a text names in `href`, `src` and `from`.
fn named_files(text: &str) -> Vec<String> {
    let quoted = ["href=\"", "src=\"", "from './"].into_iter().flat_map(|begin| text.split(begin).skip(1));
    let names = quoted.filter_map(|rest| rest.split(['"', '\'']).next());
    names.filter(|name| [".js", ".css"].iter().any(|end| name.ends_with(end))).map(str::to_owned).collect()
}

#[actix_web::test]
async fn the_console_is_static_strict_and_complete() {
    let env = TestEnv::start(&MATRIX42);
    let mut files = vec![String::new()];
    let mut at = 0;
    while let Some(file) = files.get(at).cloned() {
        at += 1;
        let response = env.get(&format!("/console/{file}")).send().await;
        response.assert_status(200);
        for (header, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(response.header(header), Some(value), "{file}");
        }
        assert_eq!(response.header("set-cookie"), None);
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
        {
            assert!(!response.text.contains(forbidden), "{file}: {forbidden}");
        }
        let known = env.get(&format!("/console/{file}")).header("If-None-Match", response.etag()).send().await;
        assert_eq!((known.status, known.text.as_str()), (304, ""), "{file}");
        let new = named_files(&response.text).into_iter().filter(|name| !files.contains(name)).collect::<Vec<_>>();
        files.extend(new);
    }
    assert!(files.len() > 10, "{files:?}");
    assert_eq!(env.get("/console").send().await.header("location"), Some("/console/"));
    env.get("/console/nothing.js").send().await.assert_problem(404, "not-found");
    let metrics = env.get("/metrics").send().await.text;
    assert!(metrics.contains(r#"gateway_requests_total{action="console",outcome="ok",system="none"}"#), "{metrics}");
}

#[actix_web::test]
async fn a_console_that_is_switched_off_is_not_found() {
    let env = TestEnv::start_with(&MATRIX42, |config| config.server("console", false));
    for path in ["/console", "/console/", "/console/app.js"] {
        env.get(path).send().await.assert_problem(404, "not-found");
    }
    let home = env.get("/").send().await;
    assert!(!home.text.contains("console/"), "{}", home.text);
}

#[actix_web::test]
async fn the_front_page_shows_the_systems_to_callers_who_may_see_them() {
    let open = TestEnv::start(&MATRIX42);
    let page = open.get("/").send().await.assert_status(200).text.clone();
    assert!(page.contains("href=\"systems/itsm\"") && page.contains("not called yet"), "{page}");
    assert!(page.contains("curl -i 'http://127.0.0.1:"), "{page}");

    let keys =
        TestEnv::start_with(&MATRIX42, |config| config.api_keys(&[("reader", "a-key-of-a-reader", "itsm:read")]));
    let page = keys.get("/").send().await.assert_status(200).text.clone();
    assert!(!page.contains("itsm") && page.contains("Authorization: Bearer $KEY"), "{page}");
    let page = keys.get("/").header("Authorization", "Bearer a-key-of-a-reader").send().await;
    assert!(page.text.contains("href=\"systems/itsm\"") && !page.text.contains("systems/crm"), "{page:?}");
    assert_eq!(page.header("vary"), Some("Authorization"));
}

#[actix_web::test]
async fn a_host_that_is_no_host_is_not_repeated_on_the_front_page() {
    let env = TestEnv::start(&MATRIX42);
    let page = env.get("/").header("Host", "a<b>'c").send().await;
    assert!(page.status != 200 || page.text.contains("'http://HOST/systems'"), "{page:?}");
}
