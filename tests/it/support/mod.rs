//! What the integration tests share: one configuration ([`TestConfig`]), a gateway in this process
//! ([`TestServer`]) or in a process of its own ([`TestProcess`]), an HTTP client, and a fixture per
//! vendor ([`VendorFixture`]).

mod client;
mod fixtures;
mod jwt_issuer;
mod test_config;
mod test_env;
mod test_process;
mod test_server;
mod vendor_fixture;

pub(crate) use client::{EventStream, Request, TestClient, TestResponse};
pub(crate) use fixtures::{BLUEDOLPHIN, DATAVERSE, MATRIX42, PRETECTUM};
pub(crate) use jwt_issuer::JwtIssuer;
pub(crate) use test_config::TestConfig;
pub(crate) use test_env::TestEnv;
pub(crate) use test_process::{PROGRAM, ProcessBuilder, TestProcess};
pub(crate) use test_server::TestServer;
pub(crate) use vendor_fixture::{OnUpdate500, VendorFixture};

/// The one list of the fixtures: calls `$then!` with `(module FIXTURE native|guarded)` for each,
/// then a semicolon and the rest. A new vendor is one entry here; `vendor_coverage` fails without
/// it.
macro_rules! with_every_fixture {
    ($then:ident $(, $rest:tt)*) => {
        crate::support::$then! {
            (pretectum PRETECTUM native)
            (bluedolphin BLUEDOLPHIN guarded)
            (matrix42 MATRIX42 native)
            (dataverse DATAVERSE native);
            $($rest)*
        }
    };
}

macro_rules! fixture_list {
    ($(($module:ident $fixture:ident $guarantee:ident))+;) => {
        /// Every vendor's fixture.
        pub(crate) const FIXTURES: &[&VendorFixture] = &[$(&$fixture),+];
        /// Whether the tests for native vendors run for the fixture, in the order of [`FIXTURES`].
        pub(crate) const HAS_NATIVE_TESTS: &[bool] = &[$(matches!(stringify!($guarantee).as_bytes(), b"native")),+];
    };
}

/// Makes one test per vendor of each behaviour, so that a failure names the behaviour and the
/// vendor.
macro_rules! for_each_vendor {
    ($($behaviour:ident),+ $(,)?) => {
        crate::support::with_every_fixture!(behaviour_tests, ($($behaviour),+));
    };
}

/// The same for the vendors that compare versions themselves.
macro_rules! for_each_native_vendor {
    ($($behaviour:ident),+ $(,)?) => {
        mod native {
            use super::*;
            crate::support::with_every_fixture!(native_behaviour_tests, ($($behaviour),+));
        }
    };
}

macro_rules! behaviour_tests {
    ($(($module:ident $fixture:ident $guarantee:ident))+; $behaviours:tt) => {
        $(crate::support::tests_of_vendor!($module, $fixture, $behaviours);)+
    };
}

macro_rules! native_behaviour_tests {
    ($(($module:ident $fixture:ident $guarantee:ident))+; $behaviours:tt) => {
        $(crate::support::tests_if_native!($guarantee, $module, $fixture, $behaviours);)+
    };
}

macro_rules! tests_if_native {
    (native, $module:ident, $fixture:ident, $behaviours:tt) => {
        crate::support::tests_of_vendor!($module, $fixture, $behaviours);
    };
    (guarded, $module:ident, $fixture:ident, $behaviours:tt) => {};
}

macro_rules! tests_of_vendor {
    ($module:ident, $fixture:ident, ($($behaviour:ident),+)) => {
        mod $module {
            $(
                #[actix_web::test]
                async fn $behaviour() {
                    super::$behaviour(&crate::support::$fixture).await;
                }
            )+
        }
    };
}

pub(crate) use {
    behaviour_tests, fixture_list, for_each_native_vendor, for_each_vendor, native_behaviour_tests, tests_if_native,
    tests_of_vendor, with_every_fixture,
};

with_every_fixture!(fixture_list);
