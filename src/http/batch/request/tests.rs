//! What is a batch, and what is none.

use super::*;

fn parse(body: &str) -> Result<BatchRequest, Problem> {
    let bounds = BatchBounds { max_items: 4, max_concurrency: 16 };
    BatchRequest::parse(&Bytes::copy_from_slice(body.as_bytes()), &ItemRoutes::new(), bounds)
}

#[test]
fn an_item_has_the_defaults_of_its_batch_and_its_method() {
    let batch = parse(
        r#"{"headers":{"IF-Match":"*","prefer":"wait=1"},"concurrency":32,"on_failure":"stop","items":[
            {"method":"PATCH","path":"/records/crm/a:b","body":{"fields":{"n":12345678901234567890, "d": 1.10}}},
            {"id":"x","method":"GET","path":"/records/crm/a:b","headers":{"if-match":"\"t\""}},
            {"method":"POST","path":"/records/crm/","body":{}}]}"#,
    );
    assert!(batch.is_err(), "a trailing slash is another path");
    let batch = parse(
        r#"{"headers":{"IF-Match":"*","prefer":"wait=1"},"concurrency":32,"on_failure":"stop","items":[
            {"method":"PATCH","path":"/records/crm/a:b","body":{"fields":{"n":12345678901234567890, "d": 1.10}}},
            {"id":"x","method":"GET","path":"/records/crm/a:b","headers":{"if-match":"\"t\""}},
            {"method":"PATCH","path":"/records/crm/{x}","depends_on":["x"],"headers":{"If-Match":"{x}"}}]}"#,
    )
    .expect("a batch");
    assert!(batch.stop_on_failure && batch.concurrency == 16);
    let [patch, get, linked] = batch.items.as_slice() else { panic!("three items") };
    assert_eq!((patch.id.as_str(), get.id.as_str()), ("0", "x"));
    assert_eq!(&*patch.body, br#"{"fields":{"n":12345678901234567890, "d": 1.10}}"#, "as it stands");
    assert_eq!(patch.headers.get(CONTENT_TYPE).expect("a type"), "application/merge-patch+json");
    assert_eq!(
        (get.headers.get(IF_MATCH).expect("a tag"), get.headers.get("prefer").expect("a preference")),
        (&HeaderValue::from_static("\"t\""), &HeaderValue::from_static("wait=1"))
    );
    assert_eq!((linked.depends_on.as_slice(), linked.record_of, linked.tag_of), (&[1][..], Some(1), Some(1)));
}

#[test]
fn what_is_no_batch_is_malformed_as_a_whole() {
    let get = r#"{"method":"GET","path":"/records/crm/a:b"}"#;
    for (body, word) in [
        (String::new(), ""),
        ("[]".to_owned(), ""),
        ("{}".to_owned(), "/items"),
        (r#"{"items":{}}"#.to_owned(), "/items"),
        (format!(r#"{{"items":[{get}],"atomic":true}}"#), "/atomic"),
        (format!(r#"{{"items":[{get}],"items":[]}}"#), "twice"),
        (format!(r#"{{"items":[{get}],"on_failure":"halt"}}"#), "/on_failure"),
        (format!(r#"{{"items":[{get}],"concurrency":0}}"#), "/concurrency"),
        (format!(r#"{{"items":[{get}],"concurrency":33}}"#), "/concurrency"),
        (format!(r#"{{"items":[{get}],"concurrency":"8"}}"#), "/concurrency"),
        (format!(r#"{{"items":[{get}],"headers":{{"Authorization":"x"}}}}"#), "/headers/Authorization"),
        (format!(r#"{{"items":[{get}],"headers":{{"If-Match":"*","if-match":"*"}}}}"#), "twice"),
        (r#"{"items":[1]}"#.to_owned(), "/items/0"),
        (r#"{"items":[{"path":"/records/crm/a:b"}]}"#.to_owned(), "/items/0/method"),
        (r#"{"items":[{"method":"HEAD","path":"/records/crm/a:b"}]}"#.to_owned(), "/items/0/method"),
        (r#"{"items":[{"method":"GET","path":"/ledger"}]}"#.to_owned(), "/items/0/path"),
        (r#"{"items":[{"method":"GET","path":"/records/crm?limit=1"}]}"#.to_owned(), "/items/0/path"),
        (r#"{"items":[{"method":"GET","path":"/models/customer/schema"}]}"#.to_owned(), "/items/0/path"),
        (r#"{"items":[{"method":"GET","path":"/records/crm/a b"}]}"#.to_owned(), "/items/0/path"),
        (r#"{"items":[{"method":"GET"}]}"#.to_owned(), "/items/0/path"),
        (format!(r#"{{"items":[{{"id":"a b","method":"GET","path":"/records/crm/a:b"}},{get}]}}"#), "/items/0/id"),
        (format!(r#"{{"items":[{{"id":"1","method":"GET","path":"/records/crm/a:b"}},{get}]}}"#), "/items/1/id"),
        (r#"{"items":[{"method":"GET","path":"/records/crm/a:b","headers":{"Accept":"x"}}]}"#.to_owned(), "Accept"),
        (r#"{"items":[{"method":"GET","path":"/records/crm/a:b","headers":{"Prefer":1}}]}"#.to_owned(), "Prefer"),
        (r#"{"items":[{"method":"GET","path":"/records/crm/a:b","query":"x"}]}"#.to_owned(), "/items/0/query"),
        (r#"{"items":[{"method":"GET","path":"/records/crm/a:b","depends_on":"x"}]}"#.to_owned(), "depends_on"),
    ] {
        let problem = parse(&body).err().expect("refused");
        assert_eq!(problem.kind, ProblemKind::MalformedRequest, "{body}: {problem:?}");
        assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
    }
}

#[test]
fn impossible_references_are_rejected_with_every_pointer() {
    let item = |more: &str| format!(r#"{{"method":"DELETE","path":"/records/crm/a:b"{more}}}"#);
    let problem = |items: &[String]| {
        let problem = parse(&format!(r#"{{"items":[{}]}}"#, items.join(","))).err().expect("refused");
        assert_eq!(problem.kind, ProblemKind::Rejected, "{problem:?}");
        problem.errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>()
    };
    assert_eq!(problem(&[]), ["/items"]);
    assert_eq!(problem(&vec![item(""); 5]), ["/items"]);
    let fifth = |more: &str| format!(r#"{{"items":[{0},{0},{0},{0},{1}]}}"#, item(""), item(more));
    for more in [r#","id":"0""#, r#","id":"no id""#, r#","query":"x""#, r#","path":"/ledger""#] {
        let problem = parse(&fifth(more)).err().expect("refused");
        assert_eq!(problem.kind, ProblemKind::MalformedRequest, "its form comes first: {more}");
    }
    let later = item(r#","depends_on":["1","x","0"]"#);
    assert_eq!(
        problem(&[later, item("")]),
        ["/items/0/depends_on/0", "/items/0/depends_on/1", "/items/0/depends_on/2"]
    );
    let loose = r#"{"method":"DELETE","path":"/records/crm/{0}","headers":{"If-Match":"{0}"}}"#.to_owned();
    assert_eq!(problem(&[item(""), loose]), ["/items/1/path", "/items/1/headers/If-Match"]);
}
