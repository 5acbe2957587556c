//! What the integration tests share: one configuration ([`TestConfig`]), a gateway in this process
//! ([`TestServer`]) or in a process of its own ([`TestProcess`]), an HTTP client, and a fixture per
//! vendor ([`VendorFixture`]).

mod client;
pub(crate) mod fixtures;
mod jwt_issuer;
mod test_config;
mod test_env;
mod test_process;
mod test_server;
mod vendor_fixture;

pub(crate) use client::{EventStream, Request, TestClient, TestResponse};
pub(crate) use fixtures::bluedolphin::FIXTURE as BLUEDOLPHIN;
pub(crate) use fixtures::dataverse::FIXTURE as DATAVERSE;
pub(crate) use fixtures::matrix42::FIXTURE as MATRIX42;
pub(crate) use fixtures::pretectum::FIXTURE as PRETECTUM;
pub(crate) use fixtures::{FIXTURE_TRAITS, FIXTURES, HISTORY_VENDORS, fixture_list, with_every_fixture};
pub(crate) use jwt_issuer::JwtIssuer;
pub(crate) use test_config::TestConfig;
pub(crate) use test_env::TestEnv;
pub(crate) use test_process::{PROGRAM, ProcessBuilder, TestProcess};
pub(crate) use test_server::TestServer;
pub(crate) use vendor_fixture::{OnUpdate500, UpdateResponse, VendorFixture};

/// Makes one test per vendor of each behaviour, so that a failure names the behaviour and the
/// vendor.
macro_rules! for_each_vendor {
    ($($behaviour:ident),+ $(,)?) => {
        crate::support::with_every_fixture!(behaviour_tests, ($($behaviour),+));
    };
}

/// The same for the vendors with one trait: `native`, `tokens`, `schemas` or `spellings`.
macro_rules! for_each_vendor_with {
    ($trait:ident: $($behaviour:ident),+ $(,)?) => {
        mod $trait {
            use super::*;
            crate::support::with_every_fixture!(behaviour_tests_with, $trait, ($($behaviour),+));
        }
    };
}

macro_rules! behaviour_tests {
    ($(($module:ident $traits:tt))+; $behaviours:tt) => {
        $(crate::support::tests_of_vendor!($module, $behaviours);)+
    };
}

macro_rules! behaviour_tests_with {
    ($(($module:ident $traits:tt))+; $trait:ident $behaviours:tt) => {
        $(crate::support::tests_with_trait!($trait $traits $module $behaviours);)+
    };
}

/// The tests of one vendor, if the trait is among its own.
macro_rules! tests_with_trait {
    (native [native $($rest:ident)*] $module:ident $behaviours:tt) => {
        crate::support::tests_of_vendor!($module, $behaviours);
    };
    (tokens [tokens $($rest:ident)*] $module:ident $behaviours:tt) => {
        crate::support::tests_of_vendor!($module, $behaviours);
    };
    (schemas [schemas $($rest:ident)*] $module:ident $behaviours:tt) => {
        crate::support::tests_of_vendor!($module, $behaviours);
    };
    (spellings [spellings $($rest:ident)*] $module:ident $behaviours:tt) => {
        crate::support::tests_of_vendor!($module, $behaviours);
    };
    ($trait:ident [$other:ident $($rest:ident)*] $module:ident $behaviours:tt) => {
        crate::support::tests_with_trait!($trait [$($rest)*] $module $behaviours);
    };
    ($trait:ident [] $module:ident $behaviours:tt) => {};
}

macro_rules! tests_of_vendor {
    ($module:ident, ($($behaviour:ident),+)) => {
        mod $module {
            $(
                #[actix_web::test]
                async fn $behaviour() {
                    super::$behaviour(&crate::support::fixtures::$module::FIXTURE).await;
                }
            )+
        }
    };
}

pub(crate) use {
    behaviour_tests, behaviour_tests_with, for_each_vendor, for_each_vendor_with, tests_of_vendor, tests_with_trait,
};
