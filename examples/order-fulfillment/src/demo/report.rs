use std::fmt::{self, Display, Formatter};

use super::books::{Books, Names, money};

const LEGEND: &str = "\
A customer pays on Stripe's page, not in the shop. Stripe then tells the shop: it sends an HTTP
request (a webhook) with an event, signed with a secret that only Stripe and the shop know, and
sends it again until the answer is 200. So the shop hears of each payment once or several times,
in any order, and anybody else can send it forgeries. This is a server of axum-stripe-webhook on a
fresh database, and below is what it was sent, over HTTP, what it answered, and which rows changed.
Every delivery is signed as Stripe signs, unless it says otherwise. An event that names no order of
the shop's, or another amount, is kept, with its bytes, until somebody releases or discards it.
In the second part the server stores each event and answers at once; workers, as they could run on
other machines, take it from there. What fails is tried again, here three times; then it is dead,
until somebody has it retried.

  200  taken care of, or stored: Stripe stops
  202  the shop's staff is told that a worker will run it
  400  not signed by Stripe, or too long ago: not even read
  409  a copy of it is being processed at this moment: Stripe asks again
  413  larger than the server accepts
  503  failed, and everything undone: Stripe sends it again
";

/// The widths of the deliveries' table: 100 with the spaces between.
const WIDTHS: [usize; 4] = [5, 33, 21, 35];

/// What the demo has seen.
#[derive(Debug)]
pub struct Report {
    pub(super) lines: Vec<Line>,
    pub(super) deliveries: usize,
    pub(super) books: Books,
    pub(super) names: Names,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) part: &'static str,
    pub(super) delivery: String,
    pub(super) answer: String,
    pub(super) changes: String,
    pub(super) expected: String,
    pub(super) as_it_must_be: bool,
}

impl Report {
    /// Whether every answer and every row was as it must be.
    #[must_use]
    pub fn is_as_it_must_be(&self) -> bool {
        self.right() == self.lines.len()
    }

    fn right(&self) -> usize {
        self.lines.iter().filter(|line| line.as_it_must_be).count()
    }

    fn lines(part: &[Line]) -> Vec<Vec<String>> {
        let head = ["", "delivery", "answer", "what changed in the shop"].map(str::to_owned);
        let lines = part.iter().map(|line| {
            let (mark, expected) = match line.as_it_must_be {
                true => ("ok", String::new()),
                false => ("WRONG", format!("\nmust be:\n{}", line.expected)),
            };
            vec![
                mark.to_owned(),
                line.delivery.clone(),
                line.answer.clone(),
                format!("{}{expected}", line.changes),
            ]
        });
        std::iter::once(head.to_vec()).chain(lines).collect()
    }

    fn orders(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<_> = self
            .books
            .orders
            .iter()
            .map(|order| {
                vec![
                    self.names.of(&order.id).to_owned(),
                    order.id.clone(),
                    money(order.amount, &order.currency),
                    order.status.as_str().to_owned(),
                    money(order.amount_refunded, &order.currency),
                ]
            })
            .collect();
        rows.sort();
        with_head(["", "order", "amount", "status", "went back"], rows)
    }

    fn shipments(&self) -> Vec<Vec<String>> {
        let orders = self.books.orders.iter();
        let mut rows: Vec<_> = orders
            .filter_map(|order| {
                let name = self.names.of(&order.id).to_owned();
                Some(vec![
                    name,
                    order.id.clone(),
                    order.shipment?.as_str().to_owned(),
                ])
            })
            .collect();
        rows.sort();
        with_head(["", "shipment of", "state"], rows)
    }

    fn refunds_due(&self) -> Vec<Vec<String>> {
        let rows = self.books.refunds_due.iter().map(|payment| {
            vec![
                self.names.of(&payment.order_id).to_owned(),
                payment.session_id.clone(),
                money(
                    payment.amount,
                    payment.currency.as_deref().unwrap_or_default(),
                ),
            ]
        });
        with_head(["", "refund due of session", "amount"], rows.collect())
    }

    fn kept(&self) -> Vec<Vec<String>> {
        let kept = self.books.kept.iter();
        let rows = kept.map(|(event_id, reason)| vec![event_id.clone(), reason.clone()]);
        with_head(["event kept", "reason"], rows.collect())
    }

    /// In plain words, for whoever reads only the last line.
    fn close(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (right, all) = (self.right(), self.lines.len());
        if right < all {
            return writeln!(f, "{} of {all} lines are WRONG.", all - right);
        }
        let parcels = self
            .books
            .orders
            .iter()
            .filter(|order| order.shipment.is_some())
            .count();
        writeln!(
            f,
            "{right} of {all} lines are as they must be: of {deliveries} deliveries, those for \
             {parcels} orders took effect, once each;\nwhat came again, was forged or failed halfway \
             changed nothing, and no order has two parcels.",
            deliveries = self.deliveries,
        )
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{LEGEND}")?;
        for part in self.lines.chunk_by(|one, next| one.part == next.part) {
            writeln!(f, "{}\n", part.first().map_or("", |line| line.part))?;
            table(f, &Self::lines(part), &WIDTHS)?;
        }
        let (orders, shipments) = (self.orders(), self.shipments());
        for rows in [orders, shipments, self.refunds_due(), self.kept()] {
            table(f, &rows, &widths(&rows))?;
        }
        self.close(f)
    }
}

fn with_head<const N: usize>(head: [&str; N], rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let head = head.map(str::to_owned).to_vec();
    std::iter::once(head).chain(rows).collect()
}

/// Wide enough for the widest cell of each column.
fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect()
}

/// The first row is the head.
fn table(f: &mut Formatter<'_>, rows: &[Vec<String>], widths: &[usize]) -> fmt::Result {
    for (number, row) in rows.iter().enumerate() {
        write_row(f, row, widths)?;
        if number == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            write_row(f, &rules, widths)?;
        }
    }
    writeln!(f)
}

fn write_row(f: &mut Formatter<'_>, row: &[String], widths: &[usize]) -> fmt::Result {
    let cells: Vec<_> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrap(cell, *width))
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or_default();
    for line in 0..height {
        let parts = cells.iter().zip(widths).map(|(cell, width)| {
            let part = cell.get(line).map_or("", String::as_str);
            format!("{part:<width$}")
        });
        writeln!(f, "{}", parts.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Lines are broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    text.split('\n')
        .flat_map(|line| wrap_line(line, width))
        .collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("one\ntwo three", 7), ["one", "two", "three"]);
    }
}
