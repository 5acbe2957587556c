//! A vendor whose records move to other pages while the gateway reads the list.

use records_gateway::sandbox::{CallKind, InjectedFault};

use super::support::{PRETECTUM, TestEnv};

#[actix_web::test]
async fn a_record_that_moves_up_during_a_scan_is_read_and_not_404() {
    let env = TestEnv::start(&PRETECTUM);
    env.vendors.pretectum.state.configure(|settings| {
        (settings.page_size, settings.empty_page, settings.moves_up) = (1, false, true);
    });
    // The record of the second page moves to the first one while the second page is requested.
    env.faults().add(CallKind::List, InjectedFault::Hold, 1, Some(1));
    let delete = async {
        env.wait_for_calls(CallKind::List, 2).await;
        (PRETECTUM.external_delete)(&env.vendors, PRETECTUM.key);
        env.faults().release();
    };
    let (read, ()) = futures_util::future::join(env.read(PRETECTUM.other_key).send(), delete).await;
    read.assert_status(200);
    env.read(PRETECTUM.key).send().await.assert_problem(404, "record-not-found");
}
