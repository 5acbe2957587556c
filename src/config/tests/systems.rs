//! `[systems.NAME]`.

use super::*;

#[test]
fn a_system_name_has_its_form_and_is_not_a_metric_label() {
    for wrong in ["Crm", "1crm", "c_rm", "none", "\"c rm\"", "\"\"", "\"c.rm\""] {
        assert_one_error(
            &SMALL.replace("systems.itsm", &format!("systems.{wrong}")),
            &format!("3:1 systems.{wrong}: is not a system's"),
        );
    }
    for good in ["c", "crm-2", "c--", "nonesuch"] {
        assert_eq!(parse_valid(&SMALL.replace("itsm]", &format!("{good}]"))).systems[0].name.as_str(), good);
    }
}

#[test]
fn the_required_keys_of_each_vendor_are_reported() {
    for factory in VENDORS {
        let own = factory.settings.iter().filter(|setting| setting.default.is_none()).map(|setting| setting.key);
        let keys: Vec<&str> = std::iter::once("base_url").chain(own).collect();
        let found = error_lines(&format!("access.mode = 'open'\n[systems.a]\nvendor = '{}'\n", factory.vendor));
        let expected: Vec<_> = keys.iter().map(|key| format!("2:1 systems.a.{key}: is missing; ")).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        assert!(found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected)), "{found:#?}");
    }
    assert_one_error("access.mode = 'open'\n[systems.a]\nbase_url = 'https://a'\n", "2:1 systems.a.vendor: is missing");
}

#[test]
fn connecting_ends_before_another_replica_takes_a_write_over() {
    let alone = format!("{SMALL}connect_timeout = '5s'\n");
    assert_eq!(parse_valid(&alone).systems[0].stack.connect_timeout, Duration::from_secs(5));
    let shared = format!("{alone}[store]\nurl = 'postgres://host/database'\n");
    assert_eq!(parse_valid(&shared).systems[0].stack.connect_timeout, Duration::from_secs(2));
}

#[test]
fn invalid_values_of_a_system_are_reported() {
    for (line, expected) in [
        ("timeout = '0s'", "timeout: cannot be \"0s\""),
        ("connect_timeout = '11s'", "connect_timeout: is longer than timeout"),
        ("max_in_flight = 0", "max_in_flight: is out of range; a whole number from 1 to 65536"),
        ("rate_limit = -1", "rate_limit: is out of range"),
        ("rate_limit = 0.5", "rate_limit: is a float; a whole number"),
        ("retries = 11", "retries: is out of range"),
        ("circuit_failures = 0", "circuit_failures: is out of range"),
        ("completion_poll = '11s'", "completion_poll: cannot be \"11s\""),
        ("max_vendor_body = 0", "max_vendor_body: is out of range"),
        ("require_if_match = 'yes'", "require_if_match: is a string; true or false"),
        ("on_lossy_write = 'ignore'", "on_lossy_write: cannot be \"ignore\"; \"refuse\" or \"warn\""),
        ("validate = 'maybe'", "validate: cannot be \"maybe\"; \"refuse\" or \"warn\" or \"off\""),
        ("schema_ttl = '1ms'", "schema_ttl: cannot be \"1ms\""),
        (
            "collections = ['A', '1abc']",
            "collections: \"1abc\" is not a collection of this vendor; a Data Definition's",
        ),
        ("collection = '1abc'", "collection: \"1abc\" is not a collection of this vendor; a Data Definition's"),
        ("collection = 1", "collection: is an integer"),
        ("ca_certificate = '/nowhere/ca.pem'", "ca_certificate: the file \"/nowhere/ca.pem\" cannot be read"),
        ("timout = '1s'", "timout: is not a key of this table; did you mean \"timeout\"?"),
        ("client_id = 'x'", "client_id: is a key of vendor \"pretectum\", not of this one"),
    ] {
        let found = error_lines(&format!("{SMALL}{line}\n"));
        assert_eq!(found.len(), 1, "{found:#?}");
        let (place, rest) = found[0].split_once(' ').unwrap();
        assert!(place.starts_with("7:"), "{place}");
        assert!(rest.starts_with(&format!("systems.itsm.{expected}")), "{rest}");
    }
    parse_valid(&SMALL.replace("[systems.itsm]", "[systems.itsm]\ntimeout = '1s'"));
}

#[test]
fn a_base_url_is_checked_and_normalized() {
    let with = |url: &str| SMALL.replace("https://server.example", url);
    for (given, kept) in [
        ("https://server.example/", "https://server.example"),
        ("https://SERVER.example:443/prefix//", "https://server.example/prefix"),
        ("https://server.example:8443/a/b/", "https://server.example:8443/a/b"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost:9000/x", "http://localhost:9000/x"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://server.example/api/../other", "https://server.example/other"),
    ] {
        assert_eq!(parse_valid(&with(given)).systems[0].stack.base_url, kept);
    }
    for (wrong, expected) in [
        ("server.example", "is not a URL"),
        ("ftp://server.example", "is not an http or https URL"),
        ("https:server.example", "does not have two slashes"),
        ("https://user:hunter2@server.example", "holds credentials"),
        ("https://server.example?x=1", "has a query or a fragment"),
        ("https://server.example/#", "has a query or a fragment"),
        ("https://server.example:0", "has the port 0"),
        ("https://server.example/a//b", "has an empty path segment"),
        ("https://server.example/m42services/api/", "ends in \\\"/m42Services/api\\\", which the gateway adds"),
        ("https://server.example/M42Services", "ends in \\\"/m42Services\\\", which the gateway adds"),
        ("https://server .example", "holds a space"),
        ("http://server.example", "sends secrets in clear text over http"),
        ("http://127.0.0.1.example", "sends secrets in clear text over http"),
        ("http://localhost.example", "sends secrets in clear text over http"),
        ("http://127.0.0.1:8080", "is the address of the gateway itself"),
        ("http://localhost:8080/", "is the address of the gateway itself"),
    ] {
        let expected = expected.replace('\\', "");
        assert_one_error(&with(wrong), &format!("5:12 systems.itsm.base_url: {expected}"));
        assert!(!parse(&with(wrong)).unwrap_err().to_string().contains("hunter2"));
    }
    parse_valid(&format!("{}allow_http = true\n", with("http://server.example")));
    let dolphin = "access.mode='open'\n[systems.a]\nvendor='bluedolphin'\ntenant='t'\napi_key='k'\nbase_url=";
    assert_one_error(
        &format!("{dolphin}'https://public-api.eu.bluedolphin.app/v1'"),
        "6:10 systems.a.base_url: ends in \"/v1\"",
    );
}

#[test]
fn a_collection_has_the_form_of_its_vendor() {
    let id = "20240115103000000abcdefghij0123456789abcdefghij";
    let with = |vendor: &str, keys: &str, collection: &str| {
        format!(
            "access.mode='open'\n[systems.a]\nvendor='{vendor}'\nbase_url='https://a'\n{keys}\ncollection='{collection}'\n"
        )
    };
    let pretectum = |collection: &str| with("pretectum", "client_id='i'\nclient_secret='s'", collection);
    let dolphin = |collection: &str| with("bluedolphin", "tenant='t'\napi_key='k'", collection);
    let matrix = |collection: &str| with("matrix42", "api_token='t'", collection);
    let good = [
        pretectum(&format!("{id}:{id}:{id}")),
        dolphin("object-definitions"),
        matrix("Ud_Own"),
        matrix(""),
        matrix("").replace("''", "{ env = 'EMPTY' }"),
    ];
    for text in good {
        parse_valid(&text);
    }
    let bad =
        [pretectum(id), pretectum(&format!("{id}:{id}:{id}:{id}")), dolphin("objects"), matrix("A-B"), matrix("a:b")];
    for text in bad {
        let found = error_lines(&text);
        assert!(found.len() == 1 && found[0].contains(".collection: "), "{found:#?}");
    }
}

#[test]
fn every_vendor_takes_its_own_collections_and_no_others() {
    for factory in VENDORS {
        let own = factory.capabilities.id_example.rsplit_once(':').expect("collection:key").0;
        let required = factory.settings.iter().filter(|one| one.default.is_none());
        let keys: Vec<String> = required.map(|one| format!("{}='x'\n", one.key)).collect();
        let keys = keys.concat();
        let with = |collection: &str| {
            let vendor = factory.vendor;
            format!(
                "access.mode='open'\n[systems.a]\nvendor='{vendor}'\nbase_url='https://a'\n{keys}collection='{collection}'\n"
            )
        };
        parse_valid(&with(own));
        let found = error_lines(&with("no such/collection"));
        assert!(found.len() == 1 && found[0].contains(".collection: "), "{found:#?}");
    }
}

#[test]
fn a_secret_may_have_two_values() {
    let with = |value: &str| SMALL.replace("\"token-of-itsm\"", value);
    let vendor = parse_valid(&with("['new', 'old']")).systems[0].vendor.clone();
    let second = vendor.second_settings.clone().expect("two values");
    assert_eq!((vendor.settings["api_token"].expose(), second["api_token"].expose()), ("new", "old"));
    assert_eq!(vendor.secrets().count(), 2);
    assert!(parse_valid(&with("['only']")).systems[0].vendor.second_settings.is_none());
    for (value, expected) in [
        ("[]", "6:13 systems.itsm.api_token: is empty"),
        ("['a', 'b', 'c']", "6:13 systems.itsm.api_token: has more than two values"),
        ("['a', '']", "6:19 systems.itsm.api_token[1]: is empty"),
        ("['a', 'b c']", "6:19 systems.itsm.api_token[1]: holds a character"),
    ] {
        assert_one_error(&with(value), expected);
    }
}
