//! Markdown tables, and goals under them.

use std::fmt;

/// A table: the first column names things, the others are numbers.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self::of(headings)
    }

    /// One with as many headings as there are.
    pub fn of<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rows: vec![headings.into_iter().map(str::to_owned).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let pad = " ".repeat(width - cell.chars().count());
                if column == 0 { write!(f, "| {cell}{pad} ")? } else { write!(f, "| {pad}{cell} ")? }
            }
            writeln!(f, "|")?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - 1);
                    if column == 0 { write!(f, "| {dashes}- ")? } else { write!(f, "| {dashes}: ")? }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// One line about a goal: what is to be at most what, and whether it is. Nothing depends on it but the reader.
pub fn goal(what: &str, value: f64, limit: f64, unit: &str) -> String {
    let verdict = if value <= limit { "pass" } else { "FAIL" };
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    if value.is_nan() {
        return format!("- {what}: **not measured**, goal at most {limit}{unit}");
    }
    format!("- {what}: {value:.2}{unit}, goal at most {limit}{unit}: **{verdict}**")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", "µs"]);
        table.row(vec!["a".into(), "12.5".into()]);
        assert_eq!(table.to_string(), "| name |   µs |\n| ---- | ---: |\n| a    | 12.5 |\n");
    }

    #[test]
    fn goals() {
        assert!(goal("x", 1.0, 2.0, "us").ends_with("1.00 us, goal at most 2 us: **pass**"));
        assert!(goal("x", 3.0, 2.0, "").ends_with("**FAIL**"));
        assert!(goal("x", f64::NAN, 2.0, "").contains("**not measured**"));
    }
}
