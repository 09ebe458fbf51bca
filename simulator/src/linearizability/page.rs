//! A history drawn as one page of HTML that needs nothing else: a lane per client, a bar from each call to its return.
//!
//! Across stands the order of the calls and returns, not their times: operations of microseconds and pauses of seconds
//! would not fit on one scale, and for linearizability the order is all that counts.

mod layout;

use std::fmt::Write;

use super::{Operation, Outcome, Verdict};
use layout::{Layout, Row};

/// The most operations that are drawn.
const DRAWN_MAX: usize = 2_000;
/// Above this many, only those of the offending key are drawn.
const DRAWN_WHOLE_MAX: usize = 400;
const STEP_PX: usize = 26;
const ROW_PX: usize = 26;
const BAR_PX: usize = 20;
const MARGIN_PX: usize = 96;
const TOP_PX: usize = 28;
/// About how wide a character of a label is.
const CHARACTER_PX: usize = 7;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:24px;color:#1c2330;background:#fff}\
    h1{font-size:20px;margin:0 0 8px}pre{background:#f4f5f7;padding:12px;border-radius:6px;white-space:pre-wrap;\
    overflow-wrap:anywhere}.verdict{font-weight:600}.bad{color:#b3261e}.good{color:#1b6e3c}.open{color:#8a5a00}\
    .scroll{overflow:auto;border:1px solid #d9dce1;border-radius:6px}svg text{font:11px ui-monospace,monospace}\
    .ok{fill:#cfe3f7;stroke:#3b78b5}.fail{fill:#e4e6ea;stroke:#8a919c}.unknown{fill:#fbe9c6;stroke:#b98a1f;\
    stroke-dasharray:4 3}.offending{fill:#f7c8c4;stroke:#b3261e;stroke-width:2.5}.lane{stroke:#e8eaee}\
    .break{stroke:#b3261e;stroke-width:2;stroke-dasharray:6 4}.key{display:inline-block;width:12px;height:12px;\
    border:1px solid;margin:0 4px 0 14px;vertical-align:-1px}.kok{background:#cfe3f7;border-color:#3b78b5}\
    .kfail{background:#e4e6ea;border-color:#8a919c}.kunknown{background:#fbe9c6;border-color:#b98a1f}\
    .koffending{background:#f7c8c4;border-color:#b3261e}";

/// The history and its verdict as a page. A long history is cut to its offending key, and that to the operations around
/// the offence; the page says so.
pub fn page(history: &[Operation], verdict: &Verdict, title: &str) -> String {
    let (class, headline, words) = match verdict {
        Verdict::Linearizable => ("good", "linearizable", "An order was found that explains every answer.".to_string()),
        Verdict::NotLinearizable(offence) => ("bad", "not linearizable", offence.describe(history)),
        Verdict::Unknown(doubt) => ("open", "unknown", doubt.to_string()),
    };
    let drawn = drawn(history, verdict);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\n\
         <body><h1>{0}</h1>\n<p class=\"verdict {class}\">{headline}</p>\n<pre>{1}</pre>\n",
        escape(title),
        escape(&words)
    );
    let left_out = history.len() - drawn.len();
    if left_out > 0 {
        let _ = writeln!(html, "<p>{} of {} operations are drawn.</p>", drawn.len(), history.len());
    }
    html.push_str(
        "<p>Point at a bar for all of it.<span class=\"key kok\"></span>ok<span class=\"key kfail\"></span>failed\
         <span class=\"key kunknown\"></span>unknown<span class=\"key koffending\"></span>has no order</p>\n",
    );
    draw(&mut html, history, &drawn, verdict);
    html.push_str("</body></html>\n");
    html
}

/// Which operations are drawn.
fn drawn(history: &[Operation], verdict: &Verdict) -> Vec<usize> {
    let Verdict::NotLinearizable(offence) = verdict else {
        return (0..history.len().min(DRAWN_MAX)).collect();
    };
    if history.len() <= DRAWN_WHOLE_MAX {
        return (0..history.len()).collect();
    }
    let mut of_key: Vec<usize> = (0..history.len()).filter(|at| history[*at].action.key() == offence.key).collect();
    of_key.sort_by_key(|at| history[*at].call);
    if of_key.len() > DRAWN_MAX {
        // The last ones called before it breaks, and of the offending ones as many as have room beside them.
        let breaks_at = history[offence.breaks_at].returned;
        let end = of_key.partition_point(|at| Some(history[*at].call) <= breaks_at);
        let start = end.saturating_sub(DRAWN_MAX / 2);
        let mut kept: Vec<usize> = of_key[start..end].to_vec();
        kept.extend(offence.operations.iter().rev().take(DRAWN_MAX / 2));
        kept.sort_unstable();
        kept.dedup();
        return kept;
    }
    of_key
}

fn draw(html: &mut String, history: &[Operation], drawn: &[usize], verdict: &Verdict) {
    let layout = Layout::of(history, drawn);
    let width = MARGIN_PX + (layout.columns + 1) * STEP_PX;
    let height = TOP_PX + (layout.rows.len() + 1) * ROW_PX;
    let _ = writeln!(
        html,
        "<div class=\"scroll\"><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">"
    );
    for (at, row) in layout.rows.iter().enumerate() {
        draw_row(html, history, row, TOP_PX + at * ROW_PX, width, verdict);
    }
    if let Verdict::NotLinearizable(offence) = verdict {
        draw_break(html, history, &layout, offence.breaks_at, height);
    }
    html.push_str("</svg></div>\n");
}

fn draw_row(html: &mut String, history: &[Operation], row: &Row, top: usize, width: usize, verdict: &Verdict) {
    let middle = top + BAR_PX / 2;
    let _ = writeln!(html, "<line class=\"lane\" x1=\"{MARGIN_PX}\" y1=\"{middle}\" x2=\"{width}\" y2=\"{middle}\"/>");
    if row.is_first {
        let _ = writeln!(html, "<text x=\"4\" y=\"{}\">client {}</text>", middle + 4, row.client);
    }
    for bar in &row.bars {
        let operation = &history[bar.operation];
        let offends =
            matches!(verdict, Verdict::NotLinearizable(offence) if offence.operations.contains(&bar.operation));
        let outcome = match operation.outcome {
            _ if operation.returned.is_none() && operation.outcome == Outcome::Ok => "unknown",
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
        };
        let class = if offends { format!("{outcome} offending") } else { outcome.to_string() };
        let left = MARGIN_PX + bar.from * STEP_PX;
        let across = (bar.to - bar.from) * STEP_PX;
        let words = operation.action.to_string();
        let label: String = words.chars().take(across.saturating_sub(6) / CHARACTER_PX).collect();
        let hover = format!("client {}: {words}, {}", operation.client, operation.fate());
        let _ = writeln!(
            html,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{across}\" \
             height=\"{BAR_PX}\" rx=\"3\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
            escape(&hover),
            left + 4,
            middle + 4,
            escape(&label)
        );
    }
}

fn draw_break(html: &mut String, history: &[Operation], layout: &Layout, breaks_at: usize, height: usize) {
    let Some(column) = history.get(breaks_at).and_then(|operation| layout.column_of_return(operation)) else { return };
    let x = MARGIN_PX + column * STEP_PX;
    let _ = writeln!(
        html,
        "<line class=\"break\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{height}\"/>\
         <text x=\"{}\" y=\"14\" fill=\"#b3261e\" text-anchor=\"end\">it breaks here ▸</text>",
        TOP_PX - 8,
        x + 4
    );
}

/// Text as HTML shows it. What no page may contain is shown as what it is: a replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            other => escaped.push(other),
        }
    }
    escaped
}
