//! The answers to a request, from the engine to the route: one stream of the events of all of them, timed for the
//! metrics. Dropping it, as when the client hangs up, cancels those that are not complete.

use std::time::Instant;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use liquid_decoder::engine::{Answer, Refusal};
use liquid_decoder::{Event, FinishReason, GenerateError, Request};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::error::ApiError;
use super::metrics::ModelMetrics;
use super::{Admitted, Gateway};
use crate::requests::CUT_OFF;

type Indexed = (usize, Result<Event, GenerateError>);

/// Answers that are being written.
pub(super) struct Answers {
    events: SelectAll<BoxStream<'static, Indexed>>,
    clocks: Vec<Clock>,
    /// Answers that have not ended.
    open: usize,
    /// Field that holds the prompt, for errors.
    param: &'static str,
    metrics: ModelMetrics,
    cut_off: CancellationToken,
    _under_way: TaskTrackerToken,
}

/// Times of an answer.
struct Clock {
    submitted: Instant,
    last_token: Option<Instant>,
}

impl Answers {
    /// Sends requests to the engine, all or none; `param` is the field that holds the prompt.
    pub(super) async fn submit(
        gateway: &Gateway,
        admitted: Admitted,
        requests: Vec<Request>,
        param: &'static str,
    ) -> Result<Self, ApiError> {
        let Admitted {
            decoder,
            deadline,
            under_way,
        } = admitted;
        let metrics = gateway.0.metrics.of_model(&decoder.name);
        let cut_off = gateway.0.requests.cut_off.clone();
        let submit = move || {
            let answers = requests
                .into_iter()
                .map(|request| decoder.engine.submit(request, deadline));
            let answers = answers.collect::<Result<Vec<Answer>, Refusal>>()?;
            let submitted = Instant::now();
            let clocks = answers.iter().map(|_| Clock {
                submitted,
                last_token: None,
            });
            let clocks: Vec<Clock> = clocks.collect();
            Ok(Self {
                metrics,
                open: clocks.len(),
                clocks,
                events: answers
                    .into_iter()
                    .enumerate()
                    .map(|(index, answer)| indexed(index, answer))
                    .collect(),
                param,
                cut_off,
                _under_way: under_way,
            })
        };
        // On a thread of its own: constraints are compiled here. A client that leaves meanwhile leaves answers behind that are
        // dropped there, and counted.
        let answers = tokio::task::spawn_blocking(submit).await;
        let answers = answers.map_err(ApiError::internal)?;
        answers.map_err(|refusal: Refusal| ApiError::refused(refusal, param))
    }

    /// Waits for the next event of an answer, and says which one's; none once all have ended. After an error nothing
    /// follows.
    pub(super) async fn next(&mut self) -> Option<Result<(usize, Event), ApiError>> {
        if self.open == 0 {
            return None;
        }
        let event = tokio::select! {
            // Events that are there already would go first every second time.
            biased;
            () = self.cut_off.cancelled() => {
                self.cancel();
                return Some(Err(ApiError::unavailable(CUT_OFF)));
            }
            event = self.events.next() => event,
        };
        Some(match event {
            Some((index, Ok(event))) => {
                self.observe(index, &event);
                match ended_without_a_token(&event) {
                    true => Err(self.fail(ApiError::deadline_exceeded())),
                    false => Ok((index, event)),
                }
            }
            Some((_, Err(error))) => {
                let error = ApiError::failed(error, self.param);
                Err(self.fail(error))
            }
            None => Err(self.fail(ApiError::unavailable("the engine has stopped"))),
        })
    }

    fn fail(&mut self, error: ApiError) -> ApiError {
        self.open = 0;
        self.events.clear();
        error
    }

    /// Ends the answers that are not complete, and counts them.
    fn cancel(&mut self) {
        (0..self.open).for_each(|_| self.metrics.cancelled());
        self.open = 0;
        self.events.clear();
    }

    fn observe(&mut self, index: usize, event: &Event) {
        let Some(clock) = self.clocks.get_mut(index) else {
            return;
        };
        let now = Instant::now();
        match event {
            Event::Token { .. } => match clock.last_token.replace(now) {
                None => self.metrics.first_token(now - clock.submitted),
                Some(before) => self.metrics.next_token(now - before),
            },
            Event::Finished { reason, usage, .. } => {
                self.open = self.open.saturating_sub(1);
                self.metrics.finished(*reason, usage, now - clock.submitted);
            }
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Returns whether an answer ended because its time was over before there was anything of it.
fn ended_without_a_token(event: &Event) -> bool {
    match event {
        Event::Finished { reason, usage, .. } => {
            *reason == FinishReason::Deadline && usage.completion_tokens == 0
        }
        Event::Token { .. } => false,
    }
}

fn indexed(index: usize, answer: Answer) -> BoxStream<'static, Indexed> {
    let events = stream::unfold(answer, |mut answer| async move {
        let event = answer.next().await?;
        Some((event, answer))
    });
    events.map(move |event| (index, event)).boxed()
}
