//! Finds the cues of subtitles (SubRip, WebVTT): a number, a line with two times, and lines of text. A sentence
//! that goes over several cues is one unit with all their times.

use super::lines::Line;
use super::words;

/// Most words of cues that are joined.
const MAX_JOINED_WORDS: usize = 70;

/// Finds the cues that begin at a line and hold one sentence; returns one past their last line.
pub(super) fn find_cues(text: &str, lines: &[Line], at: usize) -> Option<usize> {
    let mut end = find_cue_end(text, lines, at)?;
    loop {
        let last = lines[end - 1].text(text).trim_end();
        let next = (end..lines.len()).find(|&i| !lines[i].text(text).trim().is_empty());
        let Some(cue) = next.filter(|_| !last.ends_with(['.', '!', '?', '…', '"', '”', '。', ']']))
        else {
            return Some(end);
        };
        let Some(next_end) = find_cue_end(text, lines, cue) else {
            return Some(end);
        };
        let joined = text
            .get(lines[at].start..lines[next_end - 1].end)
            .unwrap_or_default();
        if joined.len() > super::MAX_UNIT_BYTES || words::word_count(joined) > MAX_JOINED_WORDS {
            return Some(end);
        }
        end = next_end;
    }
}

/// Returns one past the last line of the cue that begins at a line.
fn find_cue_end(text: &str, lines: &[Line], at: usize) -> Option<usize> {
    let timing = (at..lines.len().min(at + 2)).find(|&i| is_timing(lines[i].text(text)))?;
    if lines[at].text(text).len() > 60 && timing > at {
        return None;
    }
    let blank = |line: &Line| line.text(text).trim().is_empty();
    let behind = &lines[timing + 1..];
    let length = behind
        .iter()
        .position(|line| blank(line) || is_timing(line.text(text)));
    let mut end = timing + 1 + length.unwrap_or(behind.len());
    // Without a blank line between, the number of the next cue belongs to that one.
    let next_is_timing = lines.get(end).is_some_and(|line| is_timing(line.text(text)));
    if next_is_timing
        && end > timing + 1
        && lines[end - 1]
            .text(text)
            .trim()
            .bytes()
            .all(|b| b.is_ascii_digit())
    {
        end -= 1;
    }
    Some(end)
}

/// Returns true for two times with an arrow between.
fn is_timing(line: &str) -> bool {
    let Some((from, to)) = line.split_once("-->") else {
        return false;
    };
    let is_time = |time: &str| {
        time.contains(':')
            && time.len() >= 5
            && time
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b','))
    };
    is_time(from.trim()) && to.split_whitespace().next().is_some_and(is_time)
}
