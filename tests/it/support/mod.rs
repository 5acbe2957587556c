//! What the integration tests share: a env (fake vendor vendors and a gateway in front of them), a caller, and a fixture for
//! each vendor on which the same behaviour is tried.

mod client;
mod test_env;
mod vendor_fixture;

pub(crate) use client::{Request, TestClient, TestResponse};
pub(crate) use test_env::TestEnv;
pub(crate) use vendor_fixture::{BLUEDOLPHIN, MATRIX42, PRETECTUM, VendorFixture};

/// Makes one test per vendor of each behaviour, so that a failure names the behaviour and the vendor.
macro_rules! for_each_vendor {
    ($($behaviour:ident),+ $(,)?) => {
        crate::support::tests_of!(pretectum, crate::support::PRETECTUM, $($behaviour),+);
        crate::support::tests_of!(bluedolphin, crate::support::BLUEDOLPHIN, $($behaviour),+);
        crate::support::tests_of!(matrix42, crate::support::MATRIX42, $($behaviour),+);
    };
}

/// The same for the vendors that compare versions themselves.
macro_rules! for_each_native_vendor {
    ($($behaviour:ident),+ $(,)?) => {
        mod native {
            use super::*;
            crate::support::tests_of!(pretectum, crate::support::PRETECTUM, $($behaviour),+);
            crate::support::tests_of!(matrix42, crate::support::MATRIX42, $($behaviour),+);
        }
    };
}

macro_rules! tests_of {
    ($vendor:ident, $fixture:expr, $($behaviour:ident),+) => {
        mod $vendor {
            $(
                #[actix_web::test]
                async fn $behaviour() {
                    super::$behaviour(&$fixture).await;
                }
            )+
        }
    };
}

pub(crate) use {for_each_native_vendor, for_each_vendor, tests_of};
