//! Generated values are judged as the vendor judges them: none is refused that the vendor takes.

use records_gateway::sandbox::{self, Sandbox};
use serde_json::{Map, Value, json};

use crate::support::{MATRIX42, PRETECTUM, TestEnv, VendorFixture};

/// A small generator of numbers, so that a failure can be repeated.
struct TestRng(u64);

impl TestRng {
    fn next_below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn value(&mut self) -> Value {
        let words = [
            "",
            "Ada",
            "Standard",
            "Gold",
            "ada@example.com",
            "@",
            "a b@c.d",
            "12/09/2019",
            "13/40/2019",
            "2019-12-09",
            "+44 20",
            "phone",
            "true",
            "7777780d-71a0-df11-708c-000c2968299e",
            "{7777780d}",
            "9999-12-31T23:59:59Z",
        ];
        let numbers = ["0", "1", "-1", "1.10", "1e2", "12345678901234567890", "2147483648", "-0.5"];
        match self.next_below(8) {
            0 => json!(self.next_below(2) == 0),
            1 | 2 => serde_json::from_str(numbers[self.next_below(numbers.len())]).unwrap(),
            3 => json!("é".repeat(self.next_below(600))),
            4 => [Value::Null, json!([]), json!({}), json!(["Ada"])][self.next_below(4)].clone(),
            _ => json!(words[self.next_below(words.len())]),
        }
    }
}

/// Checks 10,000 new records whose fields have generated values. `takes` says whether the vendor
/// takes one without a complaint.
async fn check(fixture: &'static VendorFixture, takes: fn(&Sandbox, &Map<String, Value>) -> bool) {
    let env = TestEnv::start(fixture);
    let collection = fixture.collection().replace(':', "%3A");
    let path = format!("/systems/{}/collections/{collection}/schema?for=create", fixture.system);
    let schema = env.get(&path).send().await.assert_status(200).json();
    let validator = jsonschema::options().should_validate_formats(false).build(&schema).unwrap();
    let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let Value::Object(valid) = (fixture.new_record)("text") else { panic!("an object") };
    let (mut rng, mut refused) = (TestRng(20_260_801), 0);
    for _ in 0..10_000 {
        let mut fields = valid.clone();
        for _ in 0..=rng.next_below(2) {
            fields.insert(names[rng.next_below(names.len())].clone(), rng.value());
        }
        if !validator.is_valid(&Value::Object(fields.clone())) {
            refused += 1;
            assert!(!takes(&env.vendors, &fields), "the vendor takes {fields:?}");
        }
    }
    assert!((1000..9000).contains(&refused), "{refused} were refused");
}

#[actix_web::test]
async fn no_value_is_refused_that_pretectum_takes() {
    check(&PRETECTUM, |vendors, fields| {
        let id = vendors.pretectum.state.insert(fields);
        vendors.pretectum.state.object(&id).unwrap().errors.is_empty()
    })
    .await;
}

#[actix_web::test]
async fn no_value_is_refused_that_matrix42_takes() {
    check(&MATRIX42, |vendors, fields| {
        vendors.matrix42.state.insert(sandbox::matrix42::CATEGORY_CLASS, fields).is_some()
    })
    .await;
}
