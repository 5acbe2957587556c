//! The order of the queue.

use std::num::NonZeroU16;

use super::*;

fn queue(max_in_flight: usize, max_queue: usize) -> FairQueue<&'static str> {
    let defaults = StackSettings::for_base_url("http://vendor.example");
    FairQueue::new(&StackSettings { max_in_flight, max_queue, ..defaults })
}

fn share(caller: u64, weight: u16) -> CallerShare {
    CallerShare { caller, weight: NonZeroU16::new(weight).expect("a weight") }
}

fn single(caller: u64) -> Priority {
    Priority::single(share(caller, 1))
}

/// Ends calls one after the other, and returns who got each permit.
fn serve_calls(queue: &mut FairQueue<&'static str>, mut holder: Priority, calls: usize) -> Vec<&'static str> {
    let next = |_| {
        assert!(queue.release(holder));
        let (name, priority) = queue.grant_next()?;
        holder = priority;
        Some(name)
    };
    (0..calls).map_while(next).collect()
}

#[test]
fn one_call_is_next_after_a_thousand_of_another_caller() {
    let mut queue = queue(1, 5000);
    assert!(queue.try_take(single(1)));
    for _ in 0..1000 {
        assert!(queue.push(single(1), "flood").is_ok());
    }
    assert!(queue.push(single(2), "other").is_ok());
    assert_eq!(serve_calls(&mut queue, single(1), 3), ["other", "flood", "flood"]);
}

#[test]
fn callers_share_a_congested_vendor_by_weight() {
    let mut queue = queue(1, 5000);
    let (heavy, light) = (Priority::single(share(1, 3)), Priority::single(share(2, 1)));
    assert!(queue.try_take(light));
    for _ in 0..400 {
        assert!(queue.push(heavy, "heavy").is_ok() && queue.push(light, "light").is_ok());
    }
    let served = serve_calls(&mut queue, light, 400);
    let heavy = served.iter().filter(|name| **name == "heavy").count();
    assert!(heavy.abs_diff(300) <= 1, "{heavy}");
}

#[test]
fn permits_held_count_against_their_caller() {
    let mut queue = queue(4, 100);
    for _ in 0..4 {
        assert!(queue.try_take(single(1)));
    }
    for _ in 0..4 {
        assert!(queue.push(single(1), "flood").is_ok() && queue.push(single(2), "other").is_ok());
    }
    let mut names = Vec::new();
    for _ in 0..3 {
        queue.release(single(1));
        names.extend(queue.grant_next().map(|(name, _)| name));
    }
    assert_eq!(names, ["other"; 3]);
}

#[test]
fn reconciling_calls_come_first_and_bulk_calls_last() {
    let mut queue = queue(1, 100);
    assert!(queue.try_take(single(1)));
    for (priority, name) in
        [(Priority::bulk(share(2, 1)), "bulk"), (single(3), "single"), (Priority::reconcile(), "reconcile")]
    {
        assert!(queue.push(priority, name).is_ok());
    }
    assert_eq!(serve_calls(&mut queue, single(1), 3), ["reconcile", "single", "bulk"]);
}

#[test]
fn callers_get_every_second_permit_while_writes_are_reconciled() {
    let mut queue = queue(1, 100);
    assert!(queue.try_take(single(1)));
    for _ in 0..6 {
        assert!(queue.push(Priority::reconcile(), "reconcile").is_ok());
    }
    for (priority, name) in [(Priority::bulk(share(2, 1)), "bulk"), (single(3), "single")] {
        assert!(queue.push(priority, name).is_ok());
    }
    let expected = ["reconcile", "single", "reconcile", "bulk", "reconcile", "reconcile", "reconcile", "reconcile"];
    assert_eq!(serve_calls(&mut queue, single(1), 8), expected);
}

#[test]
fn bulk_calls_hold_at_most_half_of_the_permits() {
    let mut queue = queue(4, 100);
    let bulk = Priority::bulk(share(1, 1));
    assert_eq!([(); 3].map(|()| queue.try_take(bulk)), [true, true, false]);
    assert!(queue.push(bulk, "bulk").is_ok());
    assert_eq!([(); 3].map(|()| queue.try_take(single(1))), [true, true, false]);
    queue.release(single(1));
    assert!(queue.grant_next().is_none());
    queue.release(bulk);
    assert_eq!(queue.grant_next().map(|(name, _)| name), Some("bulk"));
}

#[test]
fn a_full_queue_rejects_only_the_caller_that_filled_it() {
    let mut queue = queue(1, 8);
    assert!(queue.try_take(single(1)));
    let pushed = [(); 9].map(|()| queue.push(single(1), "flood").is_ok());
    assert_eq!(pushed.iter().filter(|pushed| **pushed).count(), 8);
    assert_eq!([(); 5].map(|()| queue.push(single(2), "other").is_ok()), [true, true, true, true, false]);
    assert_eq!(queue.waiting, 8);
    assert!(queue.push(single(1), "flood").is_err());
    assert!(queue.push(Priority::reconcile(), "reconcile").is_ok());
}

#[test]
fn a_call_that_waits_no_longer_leaves_no_trace() {
    let mut queue = queue(1, 8);
    assert!(queue.try_take(single(1)));
    let tickets: Vec<_> = (2..6).filter_map(|caller| queue.push(single(caller), "cancelled").ok()).collect();
    for ticket in tickets.into_iter().rev() {
        queue.remove(ticket);
        queue.remove(ticket);
    }
    assert!(!queue.release(single(1)));
    assert_eq!((queue.waiting, queue.callers.len(), queue.in_flight), (0, 0, 0));
}
