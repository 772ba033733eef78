//! `hubbub copy`: asks for the move, says how far it is, and what to do then.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use clap::Args;

use super::CliError;
use crate::{
    config::{self, Config, ConfigError},
    store::{Copied, CopyError, CopyProgress, OpenError, Store},
};

/// How often is said how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct CopyPlan {
    /// The address to copy to: postgres://USER:PASSWORD@HOST/DATABASE. Others see it in the list of processes.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// A file that holds the address.
    #[arg(long, value_name = "FILE")]
    to_file: Option<String>,
}

pub(super) async fn copy(config: &Config, plan: &CopyPlan) -> Result<(), CliError> {
    let to = config::copy_target(plan.to.as_deref(), plan.to_file.as_deref())?;
    let mut last = Instant::now();
    let told = |progress: CopyProgress| {
        if last.elapsed() >= TOLD_EVERY {
            last = Instant::now();
            let CopyProgress { table, compares, rows, of } = progress;
            let done = if compares { "compared" } else { "copied" };
            // Nobody may be there to read it.
            drop(writeln!(io::stderr().lock(), "{table}: {rows} of {of} rows {done}"));
        }
    };
    let copied = match Store::copy(&config.database, &to, told).await {
        Ok(copied) => copied,
        Err(CopyError::Open(OpenError::BadUrl(why))) => {
            let place = if plan.to.is_some() { "--to" } else { "--to-file" }.to_owned();
            return Err(ConfigError::BadValue { place, key: "database.url".to_owned(), message: why.to_owned() }.into());
        }
        Err(error) => return Err(error.into()),
    };
    // Whether somebody is there to read it or not, it is done.
    drop(report(&copied));
    Ok(())
}

fn report(Copied { place, tables }: &Copied) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (table, rows) in tables {
        writeln!(out, "{table:16}{rows:>12} rows")?;
    }
    writeln!(out, "all of it is in {place} now, compared row by row.")?;
    writeln!(out, "next: set HUBBUB__DATABASE__URL (or database.url_file) to that address, and start the hub there;")?;
    writeln!(out, "start none on the SQLite file any more, which is as it was.")
}
