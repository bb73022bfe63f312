//! Rows of text on the terminal.

/// First column to the left, others to the right, as wide as they must be.
pub fn print(head: &[impl ToString], rows: &[Vec<String>]) {
    let head = head.iter().map(ToString::to_string).collect::<Vec<_>>();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row: &Vec<String>| row[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in all() {
        print!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            print!("  {cell:>width$}");
        }
        println!();
    }
}
