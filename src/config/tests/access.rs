//! `[access]`, TLS, and secrets.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn access_and_its_callers_are_checked() {
    let with = |access: &str| format!("{access}\n{}", SMALL.replace("access.mode = \"open\"\n", ""));
    let caller = |name: &str, digest: &str, allow: &str| {
        format!("[[access.callers]]\nname = '{name}'\nkey_sha256 = '{digest}'\nallow = {allow}\n")
    };
    let keys = |callers: &str| with(&format!("[access]\nmode = 'keys'\n{callers}"));
    let good = caller("a", DIGEST, "['itsm:*', '*:read', '*:*', 'itsm:ledger']");
    let AccessConfig::Keys(callers) = parse_valid(&keys(&good)).access else { panic!("keys") };
    assert_eq!(callers[0].keys[0].digest.0[..2], [0x2c, 0x70]);
    assert_eq!(callers[0].allow[0], Grant { system: SystemName::parse("itsm"), permission: None });
    assert_eq!(callers[0].allow[1], Grant { system: None, permission: Some(Permission::Read) });
    assert_eq!(callers[0].allow[2], Grant { system: None, permission: None });

    let list =
        format!("[{{ sha256 = '{DIGEST}', not_after = '2027-03-31T00:00:00Z' }}, '{}']", DIGEST.replace('2', "3"));
    let keys_of = |keys: &str| format!("[[access.callers]]\nname = 'a'\nkey_sha256 = {keys}\nallow = ['*:*']\n");
    let limited = format!("default_limits = {{ rate = 5 }}\n{}weight = 3\n", keys_of(&list));
    let AccessConfig::Keys(callers) = parse_valid(&keys(&limited)).access else { panic!("keys") };
    let ends = callers[0].keys.iter().map(|key| key.not_after.is_some()).collect::<Vec<_>>();
    assert_eq!((ends, callers[0].weight.get(), callers[0].limits.rate), (vec![true, false], 3, 5));

    let other = DIGEST.replace('2', "3");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (text, expected) in [
        (with("[access]"), "1:1 access.mode: is missing"),
        (with("access.mode = 'magic'"), "1:15 access.mode: cannot be \"magic\"; \"keys\" or \"jwt\" or \"open\""),
        (with("[access]\nmode = 'open'\n[access.jwt]\nissuer = 'x'"), "3:1 access.jwt: has no meaning in this mode"),
        (keys(""), "1:1 access.callers: is missing; one [[access.callers]] or more"),
        (keys("callers = []"), "3:11 access.callers: is empty"),
        (keys("callers = 1"), "3:11 access.callers: is an integer"),
        (with(&format!("[access]\nmode = 'open'\n{good}")), "3:"),
        (
            keys(&format!("{good}{}", caller("a", &other, "['*:*']"))),
            "8:8 access.callers[1].name: is the name of access.callers[0]",
        ),
        (
            keys(&format!("{good}{}", caller("b", DIGEST, "['*:*']"))),
            "9:14 access.callers[1].key_sha256: is the key of access.callers[0]",
        ),
        (keys(&caller("a", &DIGEST.to_uppercase(), "['*:*']")), "5:14 access.callers[0].key_sha256: is not a SHA-256"),
        (keys(&caller("a", &DIGEST[1..], "['*:*']")), "5:14 access.callers[0].key_sha256: is not a SHA-256"),
        (keys(&caller("a", empty, "['*:*']")), "5:14 access.callers[0].key_sha256: is the SHA-256 of an empty key"),
        (keys(&caller("a b", DIGEST, "['*:*']")), "4:8 access.callers[0].name: is not a name"),
        (keys(&caller("anonymous", DIGEST, "['*:*']")), "4:8 access.callers[0].name: is the name of every caller"),
        (keys(&caller("a", DIGEST, "[]")), "6:9 access.callers[0].allow: is empty"),
        (keys(&caller("a", DIGEST, "'*:*'")), "6:9 access.callers[0].allow: is a string"),
        (keys(&caller("a", DIGEST, "[1]")), "6:10 access.callers[0].allow[0]: is an integer"),
        (keys(&caller("a", DIGEST, "['itsm:']")), "6:10 access.callers[0].allow[0]: \"itsm:\" names no known action"),
        (
            keys(&caller("a", DIGEST, "['itsm:read ']")),
            "6:10 access.callers[0].allow[0]: \"itsm:read \" names no known",
        ),
        (keys(&caller("a", DIGEST, "[':read']")), "6:10 access.callers[0].allow[0]: \":read\" names a system"),
        (keys("[[access.callers]]\nkey = 1"), "3:"),
        (keys(&keys_of("[]")), "5:14 access.callers[0].key_sha256: is empty"),
        (keys(&keys_of("['x']")), "5:15 access.callers[0].key_sha256[0]: is not a SHA-256"),
        (
            keys(&keys_of(&format!("['{DIGEST}', '{DIGEST}']"))),
            "5:83 access.callers[0].key_sha256[1]: is the key of access.callers[0] as well",
        ),
        (
            keys(&keys_of(&format!("[{{ sha256 = '{DIGEST}', not_after = 'soon' }}]"))),
            "5:106 access.callers[0].key_sha256[0].not_after: is not a time with a zone; a time of RFC 3339",
        ),
        (
            keys(&keys_of(&format!("{{ sha256 = '{DIGEST}', until = 1 }}"))),
            "5:93 access.callers[0].key_sha256.until: is not a key of this table",
        ),
        (keys(&format!("{good}weight = 0")), "7:10 access.callers[0].weight: is out of range"),
        (keys(&format!("{good}limits = {{ burst = 1 }}")), "7:20 access.callers[0].limits.burst: limits nothing"),
        (keys(&format!("{good}limits = {{ rat = 1 }}")), "7:12 access.callers[0].limits.rat: is not a key"),
        (keys(&format!("default_limits = 1\n{good}")), "3:18 access.default_limits: is an integer"),
    ] {
        let found = error_lines(&text);
        assert!(found.iter().any(|error| error.starts_with(expected)), "{found:#?}\nexpected {expected}");
        assert!(found.len() == 1 || text.contains("key = 1"), "{found:#?}");
    }
}

#[test]
fn the_issuer_of_tokens_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, other) = (folder.path().join("keys.json"), folder.path().join("other.json"));
    std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
    std::fs::write(&other, r#"["keys"]"#).unwrap();
    let with =
        |table: &str| format!("[access]\nmode = 'jwt'\n{table}\n{}", SMALL.replace("access.mode = \"open\"\n", ""));
    let jwks = |jwks: &str| with(&format!("[access.jwt]\nissuer = 'i'\naudience = 'a'\njwks = '{jwks}'"));
    for (given, expected) in [
        ("https://issuer.example/keys?x=1", JwksLocation::Url("https://issuer.example/keys?x=1".into())),
        ("http://127.0.0.1:9/keys", JwksLocation::Url("http://127.0.0.1:9/keys".into())),
        (keys.to_str().unwrap(), JwksLocation::File(keys.clone())),
    ] {
        let AccessConfig::Jwt(jwt) = parse_valid(&jwks(given)).access else { panic!("jwt") };
        assert_eq!((jwt.issuer.as_str(), jwt.audience.as_str(), jwt.jwks), ("i", "a", expected));
    }
    for (text, expected) in [
        (with(""), "1:1 access.jwt: is missing; a table [access.jwt] with issuer, audience and jwks"),
        (with("jwt = 1"), "3:7 access.jwt: is an integer"),
        (with("[access.jwt]\naudience = 'a'\njwks = 'https://a/'"), "3:1 access.jwt.issuer: is missing"),
        (with("[access.jwt]\nissuer = 'i'\njwks = 'https://a/'"), "3:1 access.jwt.audience: is missing"),
        (with("[access.jwt]\nissuer = 'i'\naudience = 'a'"), "3:1 access.jwt.jwks: is missing"),
        (jwks("http://issuer.example/keys"), "6:8 access.jwt.jwks: would be fetched over http"),
        (jwks("ftp://127.0.0.1/keys"), "6:8 access.jwt.jwks: is not an https URL"),
        (jwks("https://me:secret@issuer.example/"), "6:8 access.jwt.jwks: holds credentials"),
        (jwks("https://"), "6:8 access.jwt.jwks: is not a URL"),
        (jwks("/nowhere/keys.json"), "6:8 access.jwt.jwks: the file \"/nowhere/keys.json\" cannot be read"),
        (jwks(other.to_str().unwrap()), "6:8 access.jwt.jwks: the file"),
    ] {
        assert_one_error(&text, expected);
    }
    let both = format!(
        "[[access.callers]]\nname = 'a'\n{}",
        "[access.jwt]\nissuer = 'i'\naudience = 'a'\njwks = 'https://a/'"
    );
    assert_one_error(&with(&both), "3:1 access.callers: has no meaning in this mode");
}

#[test]
fn the_tls_files_must_exist_and_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    let certificate = write("certificate.pem", &one.cert.pem());
    let key = write("key.pem", &one.signing_key.serialize_pem());
    let foreign = write("foreign.pem", &other.signing_key.serialize_pem());
    let empty = write("empty.pem", "");
    let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let tls = |certificate: &str, key: &str, more: &str| {
        format!("[server]\ntls = {{ certificate = '{certificate}', private_key = '{key}'{more} }}\n{SMALL}")
            .replace("access.mode = \"open\"\n", "[access]\nmode = \"open\"\n")
    };
    let read = parse_valid(&tls(&certificate, &key, &format!(", client_ca = '{certificate}'"))).server.tls.unwrap();
    assert!(read.load().unwrap().client_verifier.is_some());
    assert!(parse_valid(&tls(&certificate, &key, "")).server.tls.unwrap().load().unwrap().client_verifier.is_none());
    for (text, expected) in [
        (tls("/nowhere", &key, ""), "server.tls.certificate: the file \"/nowhere\" cannot be read"),
        (tls(&empty, &key, ""), "server.tls.certificate: the file holds no PEM certificate"),
        (tls(&broken, &key, ""), "server.tls.certificate: cannot be used"),
        (tls(&certificate, "/nowhere", ""), "server.tls.private_key: the file \"/nowhere\" cannot be read"),
        (tls(&certificate, &certificate, ""), "server.tls.private_key: the file holds no PEM private key"),
        (tls(&certificate, &foreign, ""), "server.tls.private_key: is not the key of the certificate"),
        (
            tls(&certificate, &key, &format!(", client_ca = '{key}'")),
            "server.tls.client_ca: the file holds no PEM cert",
        ),
        (tls(&certificate, &key, &format!(", client_ca = '{broken}'")), "server.tls.client_ca: cannot be used"),
        (
            format!(
                "[server]\ntls = {{ certificate = '{certificate}' }}\n[access]\nmode = \"open\"\n{}",
                SMALL.replace("access.mode = \"open\"\n", "")
            ),
            "server.tls.private_key: is missing",
        ),
    ] {
        let found = error_lines(&text);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:#?}\nexpected {expected}");
        assert!(!found[0].contains("BEGIN"), "{found:#?}");
    }
    assert_eq!(error_lines(&tls("/no", "/nowhere", ", client_ca = '/never'")).len(), 3, "all at once");
    let strange = SMALL.replace("'matrix42'", "'sap'").replace("\"matrix42\"", "\"sap\"");
    let strange = error_lines(&strange.replace("https://", "ftp://"));
    assert!(
        strange.iter().any(|one| one.contains("base_url")) && strange.iter().any(|one| one.contains("sap")),
        "{strange:#?}"
    );
}

#[test]
fn open_access_is_for_loopback_unless_allow_open_is_set() {
    let at = |bind: &str| format!("server.bind = '{bind}'\n{SMALL}");
    assert_one_error(
        &at("0.0.0.0:8080"),
        "3:1 access: access is open to everybody who can reach 0.0.0.0:8080; a loopback",
    );
    assert_one_error(&at("[::]:8080"), "3:1 access: access is open to everybody");
    parse_valid(&at("[::1]:8080"));
    parse_valid(&at("127.8.8.8:0"));
    parse_valid(&at("0.0.0.0:8080").replace("access.mode", "access.allow_open = true\naccess.mode"));
}

#[test]
fn secrets_appear_in_no_debug_output_and_no_error() {
    let text = EXAMPLE.replace("sqlite:records-gateway.db", "postgres://gateway:hunter2@db/records");
    let shown = format!("{:?}", parse_valid(&text));
    let secrets = [
        "hunter2",
        "value-of-CRM_SECRET",
        "value-of-ARCHITECTURE_API_KEY",
        "value-of-M42_API_TOKEN",
        DIGEST,
        "44, 112",
    ];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("value-of-CRM_CLIENT_ID"), "what is no secret is shown");

    let wrong = SMALL.replace("\"token-of-itsm\"", "'tok en'").replace(
        "[systems.itsm]",
        "[systems.itsm]\non_lossy_write = { env = 'S' }\ntimeout = { env = 'S' }\ncollection = { env = 'S-' }",
    );
    let shown_errors = parse(&wrong).unwrap_err().to_string();
    assert!(!shown_errors.contains("tok en") && !shown_errors.contains("value-of-"), "{shown_errors}");
    assert_eq!(shown_errors.lines().count(), 4, "{shown_errors}");
    assert!(
        shown_errors.lines().all(|line| line.starts_with("test.toml:") && line.contains("; valid: ")),
        "{shown_errors}"
    );
}
