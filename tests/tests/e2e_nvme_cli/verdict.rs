//! What a drive answered, what it said of itself, and whether the two agree.

use std::fmt::Write as _;

use serde_json::Value;

/// Status codes as nvme-cli names them, for answers in JSON, which hold no number.
const NAMES: [(&str, u16); 8] = [
    ("Invalid Command Opcode", 0x01),
    ("Invalid Field in Command", 0x02),
    ("Invalid Namespace or Format", 0x0b),
    ("Command Sequence Error", 0x0c),
    ("Invalid Log Page", 0x109),
    ("Invalid Controller Identifier", 0x11f),
    ("Feature Identifier Not Saveable", 0x10d),
    ("Feature Not Changeable", 0x10e),
];

/// The status code type and code; what else is in the field says nothing of why.
const STATUS_MASK: u16 = 0x7ff;

/// What came back from the command line of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    /// The exit status of the last command.
    pub(crate) exit: i32,
    /// What was printed, on stdout and stderr.
    pub(crate) text: String,
}

impl Reply {
    /// The answer as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        let start = self.text.find(['{', '[']).unwrap_or(self.text.len());
        serde_json::from_str(&self.text[start..]).unwrap_or(Value::Null)
    }

    /// The NVMe status of a command that failed.
    pub(crate) fn status(&self) -> Option<u16> {
        let number = self.text.rsplit_once("(0x").and_then(|(_, rest)| {
            let digits = rest.split(')').next()?;
            u16::from_str_radix(digits, 16).ok()
        });
        let said = self
            .text
            .split_once("NVMe status: ")
            .or_else(|| self.text.split_once("\"error\":\""))
            .or_else(|| self.text.split_once("NVMe Status:"))
            .map(|(_, rest)| rest.trim_start())?;
        let named = NAMES.iter().find(|(name, _)| {
            let rest = said.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([':', '(']))
        });
        number
            .or(named.map(|(_, code)| *code))
            .map(|status| status & STATUS_MASK)
    }

    /// Whether nothing went wrong.
    pub(crate) fn succeeded(&self) -> bool {
        self.exit == 0 && self.status().is_none()
    }

    /// The answer in one line that fits a table.
    pub(crate) fn brief(&self) -> String {
        if let Some(status) = self.status() {
            return format!("status {status:#x}");
        }
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let line = words.join(" ").replace('|', "/");
        let cut: String = line.chars().take(72).collect();
        if self.exit == 0 {
            cut
        } else {
            format!("exit {}: {cut}", self.exit)
        }
    }
}

/// What the drive says of itself, from the same run.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) controller: Value,
    pub(crate) namespace: Value,
    pub(crate) logs: Value,
    /// The register CAP.
    pub(crate) cap: u64,
    pub(crate) has_zns: bool,
}

impl Drive {
    /// A bit of a field of Identify Controller, by nvme-cli's name of the field.
    pub(crate) fn bit(&self, field: &str, bit: u32) -> bool {
        self.field(field) >> bit & 1 == 1
    }

    /// A field of Identify Controller.
    pub(crate) fn field(&self, field: &str) -> u64 {
        let value = self.controller[field].as_u64();
        value.unwrap_or_else(|| panic!("id-ctrl has no field {field}: {}", self.controller))
    }

    /// Whether the log of supported log pages names this one.
    pub(crate) fn log(&self, identifier: u8) -> bool {
        let name = format!("lid_{identifier:#x} ");
        let all = self.logs["supported_logs"].as_array();
        all.is_some_and(|all| {
            all.iter()
                .any(|entry| entry[&name].as_u64().is_some_and(|bits| bits & 1 == 1))
        })
    }
}

/// What is right about an answer.
pub(crate) type Check = fn(&Reply, &Drive) -> Result<String, String>;

/// When a command is to work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// On every drive.
    Always,
    /// Where this holds, which the text names; elsewhere one of the codes is due.
    Offered(&'static str, fn(&Drive) -> bool, &'static [u16]),
    /// Where the drive likes: the specification has no bit that tells, but says with
    /// which codes else.
    Optional(&'static [u16]),
    /// The check knows, of failures too.
    Judged,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// nvme-cli's subcommand, with what tells this row from another of the same.
    pub(crate) name: &'static str,
    /// The command lines, for a shell.
    pub(crate) run: &'static str,
    pub(crate) when: When,
    pub(crate) check: Check,
}

/// A verdict: `Err` is a wrong row.
pub(crate) type Verdict = Result<String, String>;

/// Judges an answer by what the drive says of itself.
pub(crate) fn judge(case: &Case, reply: &Reply, drive: &Drive) -> Verdict {
    let refused = |refusals: &[u16]| reply.status().is_some_and(|code| refusals.contains(&code));
    match case.when {
        When::Offered(what, offered, refusals) if !offered(drive) => {
            return if refused(refusals) {
                Ok(format!("not offered ({what}), refused as it is to be"))
            } else {
                Err(format!("not offered ({what}): expected {refusals:x?}"))
            };
        }
        When::Optional(refusals) if refused(refusals) => {
            return Ok("optional, refused as it is to be".to_owned());
        }
        When::Judged => return (case.check)(reply, drive),
        _ => {}
    }
    if reply.succeeded() {
        (case.check)(reply, drive)
    } else {
        Err("expected success".to_owned())
    }
}

/// The rows as a table in Markdown.
pub(crate) fn table(rows: &[(String, String, Verdict)]) -> String {
    let mut text = "| subcommand | what came back | verdict |\n|---|---|---|\n".to_owned();
    for (name, answer, verdict) in rows {
        let verdict = match verdict {
            Ok(why) => format!("right: {why}"),
            Err(why) => format!("**WRONG**: {why}"),
        };
        let verdict = verdict.replace('|', "/");
        writeln!(text, "| {name} | {answer} | {verdict} |").expect("a string takes it all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_from_text_and_from_json() {
        let of = |text: &str| {
            let text = text.to_owned();
            Reply { exit: 1, text }.status()
        };
        let text = "NVMe status: Invalid Command Opcode: A reserved value(0x4001)";
        assert_eq!(of(text), Some(1));
        let json = r#"{ "error":"Invalid Log Page: The log page is invalid", "type":"nvme" }"#;
        assert_eq!(of(json), Some(0x109));
        assert_eq!(of("no such device (0x12)"), None);
    }

    #[test]
    fn a_refusal_is_right_only_where_the_bit_is_clear() {
        let case = Case {
            name: "verify",
            run: "nvme verify",
            when: When::Offered("ONCS bit 7", |drive| drive.bit("oncs", 7), &[1]),
            check: |_, _| Ok(String::new()),
        };
        let reply = |exit, text: &str| Reply {
            exit,
            text: text.to_owned(),
        };
        let drive = |oncs: u64| Drive {
            controller: serde_json::json!({ "oncs": oncs }),
            namespace: Value::Null,
            logs: Value::Null,
            cap: 0,
            has_zns: false,
        };
        let refused = reply(1, "NVMe status: Invalid Command Opcode: x(0x4001)");
        let elsewise = reply(1, "NVMe status: Invalid Field in Command: x(0x4002)");
        let fine = reply(0, "");
        judge(&case, &refused, &drive(0)).unwrap();
        judge(&case, &refused, &drive(0x80)).unwrap_err();
        judge(&case, &elsewise, &drive(0)).unwrap_err();
        judge(&case, &fine, &drive(0)).unwrap_err();
        judge(&case, &fine, &drive(0x80)).unwrap();
    }
}
