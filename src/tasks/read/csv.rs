//! Tables of text (RFC 4180): fields between commas, quoted where they hold commas, quotes or line ends.

/// A table with the line on which each row begins.
pub(super) struct Csv {
    pub header: Vec<String>,
    pub rows: Vec<(usize, Vec<String>)>,
}

/// One row of a table.
pub(super) struct Row<'a> {
    csv: &'a Csv,
    /// On which it begins; the header is line 1.
    pub line: usize,
    fields: &'a [String],
}

impl Csv {
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, fields)| Row { csv: self, line: *line, fields })
    }
}

impl Row<'_> {
    /// The field of a column that must be there and not be empty.
    pub fn get(&self, column: &str) -> Result<&str, String> {
        match self.find(column)? {
            Some("") => Err(self.wrong(column, "is empty, but a value is needed")),
            Some(field) => Ok(field),
            None => Err(format!(
                "it has no column {column:?}, which is needed: its columns are {:?}.",
                self.csv.header.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>()
            )),
        }
    }

    /// The field of a column, if there is such a column.
    pub fn find(&self, column: &str) -> Result<Option<&str>, String> {
        let mut places = self.csv.header.iter().enumerate().filter(|(_, name)| *name == column);
        match (places.next(), places.next()) {
            (Some(_), Some(_)) => Err(format!("its header has the column {column:?} twice: rename one of them.")),
            (Some((place, _)), None) => Ok(Some(&self.fields[place])),
            _ => Ok(None),
        }
    }

    /// A number in a column, if there is such a column.
    pub fn number<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, String> {
        let Some(field) = self.find(column)? else { return Ok(None) };
        let parsed =
            field.trim().parse().map_err(|_| self.wrong(column, &format!("is {field:?}, but a number is needed")));
        parsed.map(Some)
    }

    /// The sentence about a field that is not what it should be.
    pub fn wrong(&self, column: &str, what: &str) -> String {
        format!("line {}, column {column:?}: it {what}.", self.line)
    }
}

/// Reads a table.
pub(super) fn parse(text: &str) -> Result<Csv, String> {
    let mut rows: Vec<(usize, Vec<String>)> = Vec::new();
    let mut reader = Reader { rest: text, line: 1 };
    while !reader.rest.is_empty() {
        let line = reader.line;
        let row = reader.row()?;
        // A line end at the end of the file begins no row.
        if row.len() > 1 || !row[0].is_empty() {
            rows.push((line, row));
        }
    }
    if rows.is_empty() {
        return Err("it is empty: a header line with the names of the columns is needed.".into());
    }
    let (_, header) = rows.remove(0);
    if let Some((line, row)) = rows.iter().find(|(_, row)| row.len() != header.len()) {
        return Err(format!(
            "line {line}, column {}: it has {} fields, but the header has {} columns. Is a quotation mark missing?",
            row.len().min(header.len()) + 1,
            row.len(),
            header.len()
        ));
    }
    Ok(Csv { header, rows })
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Vec<String>, String> {
        let mut fields = Vec::new();
        loop {
            fields.push(if self.rest.starts_with('"') { self.quoted(fields.len())? } else { self.plain() });
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            self.rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
            match self.rest.strip_prefix('\n') {
                Some(rest) => {
                    self.rest = rest;
                    self.line += 1;
                }
                None if self.rest.is_empty() => {}
                None => {
                    return Err(format!(
                        "line {}, column {}: something stands behind the closing quotation mark of a field. Quotation \
                         marks inside a field are written twice.",
                        self.line,
                        fields.len()
                    ));
                }
            }
            return Ok(fields);
        }
    }

    fn plain(&mut self) -> String {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        // The carriage return belongs to the line end.
        let at_line_end = !rest.starts_with(',');
        if at_line_end { field.trim_end_matches('\r').to_string() } else { field.to_string() }
    }

    fn quoted(&mut self, before: usize) -> Result<String, String> {
        let start = self.line;
        let mut field = String::new();
        let mut rest = &self.rest[1..];
        loop {
            let Some(end) = rest.find('"') else {
                return Err(format!(
                    "line {start}, column {}: a quotation mark opens a field and none closes it.",
                    before + 1
                ));
            };
            field += &rest[..end];
            rest = &rest[end + 1..];
            let Some(after) = rest.strip_prefix('"') else { break };
            field.push('"');
            rest = after;
        }
        self.line += field.matches('\n').count();
        self.rest = rest;
        Ok(field)
    }
}
