//! The one thread that owns the models' device, and the encoder and ranker that everyone else holds in its place.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::model::{
    ADDED_TOKENS, Compared, Comparer, Comparison, EncodeError, Encoded, Encoder, PAIR_TOKENS, Ranked, Ranker,
};

/// Time between two looks at whether a request that waits for the device is still wanted.
const CANCEL_CHECK: Duration = Duration::from_millis(10);

type Ids = Box<[u32]>;
type Reply<T> = Result<T, EncodeError>;

/// The queue of the thread that owns the device.
pub(super) struct Device {
    queue: SyncSender<DeviceWork>,
    shared: Arc<Shared>,
}

struct Shared {
    dim: usize,
    max_tokens: usize,
    /// Tokens of a step, if the encoder compares by itself.
    step_tokens: Option<usize>,
    ranker: Option<RankerSizes>,
    encoded_tokens: AtomicU64,
}

/// What a ranker says about itself.
#[derive(Clone, Copy)]
struct RankerSizes {
    max_tokens: usize,
    step_tokens: Option<usize>,
}

struct DeviceWork {
    task: Task,
    cancel: CancellationToken,
}

enum Task {
    Encode(Vec<Ids>, SyncSender<Reply<Vec<Encoded>>>),
    Compare(Arc<Comparison>, SyncSender<Reply<Compared>>),
    Rank(Ids, Vec<Ids>, SyncSender<Reply<Vec<Ranked>>>),
}

impl Device {
    /// Starts the thread. At most `queue` callers may wait; each has one batch of windows in the queue at most.
    pub(super) fn start(
        mut encoder: Box<dyn Encoder>,
        ranker: Option<Box<dyn Ranker>>,
        queue: usize,
    ) -> Self {
        let (dim, max_tokens) = (encoder.dim(), encoder.max_tokens());
        let shared = Arc::new(Shared {
            dim,
            max_tokens,
            step_tokens: encoder.comparer().map(|comparer| comparer.step_tokens()),
            ranker: ranker.as_ref().map(|ranker| RankerSizes {
                max_tokens: ranker.max_tokens(),
                step_tokens: ranker.step_tokens(),
            }),
            encoded_tokens: AtomicU64::new(0),
        });
        let (queue, work) = sync_channel(queue);
        // Detached: it ends when the last sender is gone.
        std::thread::spawn(move || serve(encoder, ranker, &work));
        Self { queue, shared }
    }

    pub(super) fn encoded_tokens(&self) -> u64 {
        self.shared.encoded_tokens.load(Ordering::Relaxed)
    }

    /// Makes an encoder and ranker for one request, which gives up when the request does, or at `until`.
    pub(super) fn reader(&self, request: &CancellationToken, until: Option<Instant>) -> RemoteReader {
        RemoteReader {
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
            given_up: request.child_token(),
            until,
        }
    }
}

fn serve(mut encoder: Box<dyn Encoder>, mut ranker: Option<Box<dyn Ranker>>, queue: &Receiver<DeviceWork>) {
    while let Ok(work) = queue.recv() {
        if work.cancel.is_cancelled() {
            continue;
        }
        // The caller may have gone when the answer is sent.
        match work.task {
            Task::Encode(windows, reply) => {
                let windows: Vec<&[u32]> = windows.iter().map(|ids| &**ids).collect();
                let _ = reply.send(guarded(|| encoder.encode(&windows)));
            }
            Task::Compare(task, reply) => {
                let _ = reply.send(guarded(|| match encoder.comparer() {
                    Some(comparer) => comparer.compare(&task),
                    None => Err(EncodeError::Device("it does not compare".to_owned())),
                }));
            }
            Task::Rank(question, windows, reply) => {
                let windows: Vec<&[u32]> = windows.iter().map(|ids| &**ids).collect();
                let _ = reply.send(guarded(|| match &mut ranker {
                    Some(ranker) => ranker.rank(&question, &windows),
                    None => Err(EncodeError::Device("it has no ranker".to_owned())),
                }));
            }
        }
    }
}

/// Turns a panic into an error of the one request that it happened in.
fn guarded<T>(work: impl FnOnce() -> Reply<T>) -> Reply<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(EncodeError::Device(text_of(panic.as_ref()))))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

/// An encoder and ranker that sends its windows to the device's thread and waits for the answer, as long as it
/// is wanted.
pub(super) struct RemoteReader {
    queue: SyncSender<DeviceWork>,
    shared: Arc<Shared>,
    given_up: CancellationToken,
    until: Option<Instant>,
}

impl RemoteReader {
    /// Returns true once the answer is not wanted any more; the device's thread then skips what is in the
    /// queue for it.
    fn gives_up(&self) -> bool {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.given_up.cancel();
        }
        self.given_up.is_cancelled()
    }

    /// Puts work into the queue. There is room, except while the device has not yet come to work that was
    /// given up.
    fn send(&self, mut work: DeviceWork) -> Result<(), EncodeError> {
        while !self.gives_up() {
            match self.queue.try_send(work) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => work = back,
                Err(TrySendError::Disconnected(_)) => return Err(ended()),
            }
            std::thread::sleep(CANCEL_CHECK);
        }
        Err(EncodeError::Cancelled)
    }
}

impl RemoteReader {
    /// Sends a task and waits for its answer, as long as it is wanted.
    fn ask<T>(&self, task: Task, answer: &Receiver<Reply<T>>, tokens: usize) -> Reply<T> {
        self.send(DeviceWork {
            task,
            cancel: self.given_up.clone(),
        })?;
        loop {
            match answer.recv_timeout(CANCEL_CHECK) {
                Ok(reply) => {
                    if reply.is_ok() {
                        let read = &self.shared.encoded_tokens;
                        read.fetch_add(tokens as u64, Ordering::Relaxed);
                    }
                    return reply;
                }
                Err(_) if self.gives_up() => return Err(EncodeError::Cancelled),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
    }
}

fn ended() -> EncodeError {
    EncodeError::Device("its thread has ended".to_owned())
}

impl Encoder for RemoteReader {
    fn dim(&self) -> usize {
        self.shared.dim
    }

    fn max_tokens(&self) -> usize {
        self.shared.max_tokens
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Reply<Vec<Encoded>> {
        let (reply, answer) = sync_channel(1);
        let tokens = windows.iter().map(|ids| ids.len() + ADDED_TOKENS).sum();
        let windows = windows.iter().map(|ids| Ids::from(*ids)).collect();
        self.ask(Task::Encode(windows, reply), &answer, tokens)
    }

    fn comparer(&mut self) -> Option<&mut dyn Comparer> {
        self.shared.step_tokens.is_some().then_some(self)
    }
}

impl Comparer for RemoteReader {
    fn step_tokens(&self) -> usize {
        self.shared.step_tokens.unwrap_or(usize::MAX)
    }

    fn compare(&mut self, task: &Arc<Comparison>) -> Reply<Compared> {
        let (reply, answer) = sync_channel(1);
        self.ask(Task::Compare(Arc::clone(task), reply), &answer, task.tokens())
    }
}

impl Ranker for RemoteReader {
    fn max_tokens(&self) -> usize {
        self.shared.ranker.map_or(0, |ranker| ranker.max_tokens)
    }

    fn step_tokens(&self) -> Option<usize> {
        self.shared.ranker?.step_tokens
    }

    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Reply<Vec<Ranked>> {
        let (reply, answer) = sync_channel(1);
        let pair = |ids: &&[u32]| question.len() + ids.len() + PAIR_TOKENS;
        let tokens = windows.iter().map(pair).sum();
        let windows = windows.iter().map(|ids| Ids::from(*ids)).collect();
        self.ask(Task::Rank(question.into(), windows, reply), &answer, tokens)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// An encoder that answers with the window's first id, and panics at id 13. It says when a call begins,
    /// then waits for permission.
    struct Slow {
        begun: Sender<()>,
        may_run: Mutex<Receiver<()>>,
    }

    impl Encoder for Slow {
        fn dim(&self) -> usize {
            1
        }

        fn max_tokens(&self) -> usize {
            8
        }

        fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
            self.begun.send(()).unwrap();
            self.may_run.lock().unwrap().recv().unwrap();
            assert!(windows.iter().all(|ids| ids[0] != 13), "thirteen");
            let answer = |ids: &&[u32]| Encoded {
                tokens: vec![0.0; ids.len()],
                sentence: vec![ids[0] as f32],
            };
            Ok(windows.iter().map(answer).collect())
        }
    }

    fn device() -> (Device, Receiver<()>, Sender<()>) {
        let (begun, begins) = channel();
        let (go, may_run) = channel();
        let slow = Slow {
            begun,
            may_run: Mutex::new(may_run),
        };
        (Device::start(Box::new(slow), None, 4), begins, go)
    }

    fn encoder(device: &Device) -> (RemoteReader, CancellationToken) {
        let cancel = CancellationToken::new();
        (device.reader(&cancel, None), cancel)
    }

    #[test]
    fn windows_come_back_in_order_and_are_counted() {
        let (device, _begins, go) = device();
        let (mut encoder, _) = encoder(&device);
        go.send(()).unwrap();
        let encoded = encoder.encode(&[&[5, 1], &[7]]).unwrap();
        assert_eq!((encoded[0].sentence[0], encoded[1].sentence[0]), (5.0, 7.0));
        assert_eq!(device.encoded_tokens(), 7);
    }

    #[test]
    fn a_cancelled_request_does_not_reach_the_device() {
        let (device, begins, go) = device();
        let (mut busy, _) = encoder(&device);
        let (mut waiting, cancel) = encoder(&device);
        let first = std::thread::spawn(move || busy.encode(&[&[1]]).map(|e| e.len()));
        begins.recv().unwrap();
        let second = std::thread::spawn(move || waiting.encode(&[&[2]]).map(|e| e.len()));
        cancel.cancel();
        assert!(matches!(second.join().unwrap(), Err(EncodeError::Cancelled)));
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert_eq!(device.encoded_tokens(), 3);
        // The second request took no turn: one word is still enough for the next.
        let (mut third, _) = encoder(&device);
        go.send(()).unwrap();
        assert_eq!(third.encode(&[&[3]]).unwrap().len(), 1);
    }

    #[test]
    fn a_request_whose_time_is_over_does_not_wait_for_the_device() {
        let (device, begins, go) = device();
        let (mut busy, _) = encoder(&device);
        let first = std::thread::spawn(move || busy.encode(&[&[1]]).map(|e| e.len()));
        begins.recv().unwrap();
        let until = Instant::now() + Duration::from_millis(50);
        let mut late = device.reader(&CancellationToken::new(), Some(until));
        for _ in 0..2 {
            assert!(matches!(late.encode(&[&[2]]), Err(EncodeError::Cancelled)));
        }
        // One word is enough for the request before it and one for the request after it: what was given up is
        // left out.
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        let (mut third, _) = encoder(&device);
        go.send(()).unwrap();
        assert_eq!(third.encode(&[&[3]]).unwrap().len(), 1);
        assert_eq!(device.encoded_tokens(), 6);
    }

    #[test]
    fn a_panic_is_an_error_of_one_request() {
        let (device, _begins, go) = device();
        let (mut encoder, _) = encoder(&device);
        go.send(()).unwrap();
        let error = encoder.encode(&[&[13]]).unwrap_err();
        assert!(error.to_string().contains("thirteen"), "{error}");
        go.send(()).unwrap();
        assert_eq!(encoder.encode(&[&[1]]).unwrap().len(), 1);
    }
}
