//! A batch shares its thread with the requests of other callers: it works for a moment, and then
//! lets them run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::task::AtomicWaker;
use tokio::task::yield_now;

/// How long a batch works before other requests run. One poll of an item is not interrupted, and
/// takes longer where there is much to do.
const SLICE: Duration = Duration::from_micros(20);

/// The time that the futures of one batch have until others run.
pub(super) struct TimeSlice {
    began_at: Cell<Instant>,
    /// The futures that are ready and were not polled, because the slice was over.
    waiting: RefCell<VecDeque<Turn>>,
    /// Nothing was ready at the last poll, so that others have run since.
    was_idle: Cell<bool>,
    others: Arc<OthersRan>,
}

/// A future that waits for its turn.
struct Turn {
    is_next: Rc<Cell<bool>>,
    waker: Waker,
}

/// Wakes the batch when its thread has looked for what else can run.
#[derive(Default)]
struct OthersRan {
    is_awaited: AtomicBool,
    have_run: AtomicBool,
    batch: AtomicWaker,
}

impl Wake for OthersRan {
    fn wake(self: Arc<Self>) {
        self.have_run.store(true, Ordering::Release);
        self.batch.wake();
    }
}

impl OthersRan {
    fn take(&self) -> bool {
        let have_run = self.have_run.swap(false, Ordering::Acquire);
        if have_run {
            self.is_awaited.store(false, Ordering::Release);
        }
        have_run
    }

    fn wake_batch_after(self: &Arc<Self>, batch: &mut Context<'_>) {
        self.batch.register(batch.waker());
        if !self.is_awaited.swap(true, Ordering::AcqRel) {
            // The first poll only has the waker kept until the thread has looked.
            let waker = Waker::from(Arc::clone(self));
            let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        }
    }
}

impl TimeSlice {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            began_at: Cell::new(Instant::now()),
            waiting: RefCell::default(),
            was_idle: Cell::new(true),
            others: Arc::default(),
        })
    }

    fn is_over(&self) -> bool {
        self.began_at.get().elapsed() >= SLICE
    }

    /// The future, which is polled while the slice lasts and no other waits, and else when it is
    /// its turn.
    pub(super) async fn limit<F: Future>(self: Rc<Self>, future: F) -> F::Output {
        let mut future = pin!(future);
        let is_next = Rc::new(Cell::new(false));
        let mut is_waiting = false;
        poll_fn(|context| {
            let may_run = if is_waiting { is_next.take() } else { !self.is_over() && self.waiting.borrow().is_empty() };
            if may_run {
                is_waiting = false;
                return future.as_mut().poll(context);
            }
            if !is_waiting {
                is_waiting = true;
                let turn = Turn { is_next: Rc::clone(&is_next), waker: context.waker().clone() };
                self.waiting.borrow_mut().push_back(turn);
            }
            Poll::Pending
        })
        .await
    }

    /// The next of these limited futures that ends.
    pub(super) async fn next<F: Future>(&self, futures: &mut FuturesUnordered<F>) -> Option<F::Output> {
        poll_fn(|context| self.poll_next(futures, context)).await
    }

    fn poll_next<F: Future>(
        &self,
        futures: &mut FuturesUnordered<F>,
        context: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if self.others.take() | self.was_idle.take() {
            self.began_at.set(Instant::now());
        }
        loop {
            if let Poll::Ready(ended) = futures.poll_next_unpin(context) {
                return Poll::Ready(ended);
            }
            if self.is_over() {
                break;
            }
            let Some(Turn { is_next, waker }) = self.waiting.borrow_mut().pop_front() else { break };
            is_next.set(true);
            waker.wake();
        }
        if self.waiting.borrow().is_empty() {
            self.was_idle.set(true);
        } else {
            self.others.wake_batch_after(context);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five items that each work `polls` times for two slices, beside another task: the order in
    /// which they ran, with 0 for the other task.
    async fn run_five(polls: usize) -> Vec<usize> {
        let order = RefCell::new(Vec::new());
        let slice = TimeSlice::new();
        let work = async |item: usize| {
            for _ in 0..polls {
                let begun = Instant::now();
                while begun.elapsed() < 2 * SLICE {}
                order.borrow_mut().push(item);
                // It is ready again at once.
                let mut was_polled = false;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        };
        let is_done = Cell::new(false);
        let mut items: FuturesUnordered<_> = (1..=5).map(|item| Rc::clone(&slice).limit(work(item))).collect();
        let batch = async {
            while slice.next(&mut items).await.is_some() {}
            is_done.set(true);
        };
        let other = async {
            while !is_done.get() {
                order.borrow_mut().push(0);
                yield_now().await;
            }
        };
        tokio::join!(biased; batch, other);
        order.borrow().clone()
    }

    #[tokio::test]
    async fn others_run_between_two_items_that_take_long() {
        let order = run_five(1).await;
        let is_alone = |pair: &[usize]| pair[0] == 0 || pair[1] == 0;
        assert!(order.windows(2).all(is_alone), "{order:?}");
        assert_eq!(order.iter().filter(|item| **item > 0).count(), 5, "{order:?}");
    }

    #[tokio::test]
    async fn an_item_that_is_always_ready_keeps_no_other_waiting() {
        let order: Vec<usize> = run_five(20).await.into_iter().filter(|item| *item > 0).collect();
        assert_eq!(order.len(), 100);
        for round in order.chunks(5) {
            assert_eq!(round.iter().sum::<usize>(), 15, "{order:?}");
        }
    }
}
