//! How often a file was written without shunt's entry, and when to put that back: at once, unless
//! somebody answers each time.

use std::time::{Duration, Instant};

/// Who writes again this soon, answers.
const ANSWER: Duration = Duration::from_millis(200);
/// So many answers may be chance: a primary that starts writes more than once.
const CHANCE: u32 = 3;
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Rewrites {
    /// Since `watch` began.
    pub count: u64,
    answers: u32,
    put_back: Option<Instant>,
    due: Option<Instant>,
}

impl Rewrites {
    /// The entry is missing: since when is it to be put back?
    pub fn due(&mut self, now: Instant) -> Instant {
        if let Some(due) = self.due {
            return due;
        }
        self.count += 1;
        let pause = self.pause();
        let answered = self.put_back.is_some_and(|at| now < at + pause + ANSWER);
        self.answers = if answered { self.answers + 1 } else { 0 };
        *self.due.insert(now + self.pause())
    }

    pub fn is_fight(&self) -> bool {
        !self.pause().is_zero()
    }

    pub fn put_back(&mut self, now: Instant) {
        (self.put_back, self.due) = (Some(now), None);
    }

    pub fn pause(&self) -> Duration {
        match self.answers.checked_sub(CHANCE) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST * 2_u32.saturating_pow(doublings.min(16))).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_now_and_then_is_put_right_at_once() {
        let (mut rewrites, mut now) = (Rewrites::default(), Instant::now());
        for _ in 0..200 {
            assert_eq!(rewrites.due(now), now);
            rewrites.put_back(now);
            now += ANSWER;
        }
        assert_eq!(rewrites.count, 200);
    }

    #[test]
    fn who_answers_waits_longer_and_longer_until_it_rests() {
        let (mut rewrites, start) = (Rewrites::default(), Instant::now());
        let mut now = start;
        for _ in 0..30 {
            let due = rewrites.due(now);
            assert_eq!(rewrites.due(now), due, "asking again changes nothing");
            now = due;
            rewrites.put_back(now);
            now += Duration::from_millis(1);
        }
        assert!(now > start + 10 * LONGEST && rewrites.is_fight());
        now += LONGEST + ANSWER;
        assert_eq!(rewrites.due(now), now);
    }
}
