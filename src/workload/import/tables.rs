//! CSV formats: hpasim's own, Azure, vidur, BurstGPT; Locust is handed on.

use super::collect::{Collector, Row, Verdict};
use super::header::Header;
use super::lines::{Cells, Lines, delimiter};
use super::number::{TimeUnit, time, tokens, unit_of};
use super::series::{self, LocustHistory};
use super::{Columns, Content, Format, Imported, ReadOptions, TraceError};
use std::io::BufRead;

/// Columns of one CSV format.
struct Table {
    arrival: usize,
    /// Unit of the arrival; `None`: seconds or a date, as the first row has it.
    unit: Option<TimeUnit>,
    prompt: usize,
    output: usize,
    session: Option<usize>,
    turn: Option<usize>,
    prefix_group: Option<usize>,
    prefix_tokens: Option<usize>,
    class: Option<usize>,
    /// Column and value that a row must have, with the reason given if not.
    filters: Vec<(usize, String, &'static str)>,
}

const AZURE: [&str; 3] = ["timestamp", "contexttokens", "generatedtokens"];
const VIDUR: [&str; 3] = ["arrived_at", "num_prefill_tokens", "num_decode_tokens"];
const BURSTGPT: [&str; 3] = ["timestamp", "request tokens", "response tokens"];
const OWN: [&str; 3] = ["arrival_s", "prompt_tokens", "output_tokens"];

impl Table {
    fn basic(
        header: &Header,
        line: u64,
        names: [&str; 3],
        unit: Option<TimeUnit>,
    ) -> Result<Self, TraceError> {
        Ok(Self {
            arrival: header.need(names[0], line)?,
            unit,
            prompt: header.need(names[1], line)?,
            output: header.need(names[2], line)?,
            session: None,
            turn: None,
            prefix_group: None,
            prefix_tokens: None,
            class: None,
            filters: Vec::new(),
        })
    }

    /// hpasim's own columns, or those that the options name.
    fn own(header: &Header, line: u64, options: &ReadOptions) -> Result<Self, TraceError> {
        let c = &options.columns;
        let names = [&c.arrival, &c.prompt, &c.output];
        let name = |i: usize| names[i].as_deref().unwrap_or(OWN[i]);
        let foreign = match detect(header) {
            Format::Azure => Some("azure"),
            Format::Burstgpt => Some("burstgpt"),
            Format::Locust => Some("locust"),
            _ => None,
        };
        if let Some(format) = foreign.filter(|_| !header.has(&[name(0), name(1), name(2)])) {
            let hint =
                format!("convert it: `hpasim trace import --format {format} FILE -o trace.csv`");
            let message = format!("has the columns of the format `{format}`, not hpasim's own");
            return Err(TraceError::file(line, message, Some(hint)));
        }
        if options.columns == Columns::default() && series::is_rate_table(header) {
            let hint = "name it as `file` of [workload.rate_curve]".to_owned();
            let message = "holds a rate over time, not requests";
            return Err(TraceError::file(line, message, Some(hint)));
        }
        let mut table = Self::basic(header, line, [name(0), name(1), name(2)], options.time_unit)?;
        table.session = header.find("session_id");
        table.turn = header.find("turn");
        table.prefix_group = header.find("prefix_group");
        table.prefix_tokens = header.find("prefix_tokens");
        table.class = header.find("class");
        Ok(table)
    }

    fn burstgpt(header: &Header, line: u64, options: &ReadOptions) -> Result<Self, TraceError> {
        let mut table = Self::basic(header, line, BURSTGPT, options.time_unit)?;
        table.session = header.find("session id");
        for (wanted, column, reason) in [
            (&options.model, "model", "other model"),
            (&options.log_type, "log type", "other log type"),
        ] {
            if let Some(value) = wanted {
                table.filters.push((header.need(column, line)?, value.clone(), reason));
            }
        }
        Ok(table)
    }

    fn row<'a>(&mut self, cells: &'a Cells) -> Verdict<'a> {
        let cell = |i: usize| cells.get(i).unwrap_or("");
        let optional = |i: Option<usize>| i.map_or("", cell);
        let text = cell(self.arrival);
        let unit = *self.unit.get_or_insert_with(|| unit_of(text, TimeUnit::S));
        let Some(at) = time(text, unit) else {
            return Verdict::Bad(
                "unreadable time",
                format!("`{text}` is not a time{}", hint(unit)),
            );
        };
        if unit != TimeUnit::Iso && at < 0 {
            return Verdict::Bad("negative time", format!("the time `{text}` is negative"));
        }
        let [prompt, output] = [self.prompt, self.output].map(|i| (cell(i), tokens(cell(i))));
        for (text, value) in [prompt, output] {
            if value.is_none() {
                let message = if text.is_empty() {
                    "a token count is missing".to_owned()
                } else {
                    format!("`{text}` is not a whole number of tokens")
                };
                return Verdict::Bad("unreadable length", message);
            }
        }
        for (column, value, reason) in &self.filters {
            if !cell(*column).eq_ignore_ascii_case(value) {
                return Verdict::Drop(Some(at), reason);
            }
        }
        let mut row = Row {
            at,
            prompt: prompt.1.unwrap_or_default(),
            output: output.1.unwrap_or_default(),
            session: optional(self.session),
            prefix_group: optional(self.prefix_group),
            class: optional(self.class),
            ..Row::default()
        };
        for (column, name) in [(self.turn, "turn"), (self.prefix_tokens, "prefix_tokens")] {
            let text = optional(column);
            if text.is_empty() {
                continue;
            }
            let Ok(value) = text.parse::<u32>() else {
                let message = format!("`{text}` is not a whole number in the column `{name}`");
                return Verdict::Bad("unreadable number", message);
            };
            if name == "turn" { row.turn = Some(value) } else { row.prefix_tokens = value }
        }
        if i64::from(row.prefix_tokens) > row.prompt {
            let message =
                format!("`prefix_tokens` {} is longer than the prompt", row.prefix_tokens);
            return Verdict::Bad("prefix longer than prompt", message);
        }
        Verdict::Keep(row)
    }
}

fn hint(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Iso => " like 2024-05-10 00:00:00.009930+00:00",
        TimeUnit::Ns => " in nanoseconds",
        TimeUnit::Us => " in microseconds",
        TimeUnit::Ms => " in milliseconds",
        TimeUnit::S => " in seconds",
    }
}

/// Reads a CSV file in any format.
pub(super) fn read<R: BufRead>(
    mut lines: Lines<R>,
    options: &ReadOptions,
) -> Result<Imported, TraceError> {
    let mut cells = Cells::default();
    let Some((number, line)) = lines.next()? else {
        return Err(TraceError::file(0, "is empty", None));
    };
    let delimiter = delimiter(line);
    // A zero byte is text to UTF-8, and no header: a tar archive has them.
    if line.contains(&0) || !cells.split(line, delimiter) {
        return Err(TraceError::file(number, "the header is not readable text", None));
    }
    let header = Header::new(&cells);
    let (name, mut table) = match options.format.unwrap_or_else(|| detect(&header)) {
        Format::Azure if header.has(&VIDUR) => {
            ("azure (vidur)", Table::basic(&header, number, VIDUR, options.time_unit)?)
        }
        Format::Azure => ("azure", Table::basic(&header, number, AZURE, options.time_unit)?),
        Format::Burstgpt => ("burstgpt", Table::burstgpt(&header, number, options)?),
        Format::Locust => return LocustHistory::new(&header, number)?.read(lines, delimiter),
        Format::Csv | Format::Jsonl | Format::Mooncake | Format::VllmBench | Format::Prometheus => {
            ("csv", Table::own(&header, number, options)?)
        }
    };
    let width = header.width();
    let mut collector = Collector::new(name, options);
    let mut own_zero =
        name == "csv" && options.columns == Columns::default() && options.time_unit.is_none();
    while let Some((number, line)) = lines.next()? {
        let verdict = if !cells.split(line, delimiter) {
            Verdict::Bad("not text", "is not readable text, or a quote is not closed".to_owned())
        } else if cells.len() < width {
            let message = format!("has {} cells, the header has {width}", cells.len());
            Verdict::Bad("too few cells", message)
        } else {
            table.row(&cells)
        };
        // Numbers of hpasim's own format count from zero; dates do not.
        if own_zero && let Some(unit) = table.unit {
            own_zero = false;
            if unit != TimeUnit::Iso {
                collector.keep_zero();
            }
        }
        collector.push(number, verdict);
    }
    let (trace, report) = collector.finish()?;
    Ok(Imported { content: Content::Trace(trace), report })
}

fn detect(header: &Header) -> Format {
    if header.has(&AZURE) || header.has(&VIDUR) {
        Format::Azure
    } else if header.has(&BURSTGPT) {
        Format::Burstgpt
    } else if header.has(&["timestamp", "user count", "total request count"]) {
        Format::Locust
    } else {
        Format::Csv
    }
}
