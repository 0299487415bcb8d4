//! What `heddlec` prints after a compilation.

use anyhow::Result;
use heddle_compiler::{Compilation, PassLog};
use heddle_ir::plan::Plan;
use heddle_ir::{printable, text};
use heddle_terminal::{note, say, write};

use crate::args::{Args, Emit};
use crate::compile::client_plan_path;

/// Prints what the arguments ask for, and what the user must know of the plan.
pub(crate) fn report(args: &Args, compilation: &Compilation) -> Result<()> {
    write(&asked_for(args, compilation)?)?;
    let plan = &compilation.plan;
    for text in &plan.notes {
        note(text);
    }
    if let Some(path) = &args.output {
        let parameters = plan.checked_parameters()?;
        let security = parameters.security();
        say(&format!(
            "{}: {} bootstraps, {} evaluation keys, {:.0}-bit security{}",
            printable::path(path),
            plan.schedule.bootstraps(),
            plan.required_keys()?.len(),
            security.bits,
            if plan.insecure { " (INSECURE)" } else { "" }
        ));
        say(&compilation.prediction.to_string());
        let client = client_plan_path(path);
        say(&format!(
            "{}: what clients get, without weights",
            printable::path(&client)
        ));
        if let Some(worst) = least_precise(plan) {
            say(&worst);
        }
        if let Some(failure) = plan.schedule.failure(&parameters, &plan.bootstrap) {
            say(&format!("EvalMod by {}", text::eval_mod(&plan.bootstrap)));
            say(&failure.to_string());
        }
    }
    Ok(())
}

/// The text for standard output. Its line breaks are ours: names have none.
fn asked_for(args: &Args, compilation: &Compilation) -> Result<String> {
    let plan = &compilation.plan;
    let mut out = String::new();
    if args.explain {
        explain(&compilation.log, &mut out);
    }
    match args.emit {
        Some(Emit::Nn) => out += &text::print_nn(&compilation.model),
        Some(Emit::Slot) => out += &text::print_slot(&compilation.packed),
        Some(Emit::Ckks) => {
            out += &text::print_ckks(&plan.schedule);
            out += &text::print_keys(&plan.required_keys()?);
        }
        Some(Emit::Schedule) => out += &text::plan_summary(plan)?,
        None => {}
    }
    Ok(out)
}

/// What every pass did, with the graph after each that changed it.
fn explain(log: &PassLog, out: &mut String) {
    for record in log.records() {
        let unchanged = match record.text {
            Some(_) => "",
            None => ", unchanged",
        };
        *out += &format!("== {} ({:?}{unchanged})\n", record.name, record.stage);
        for remark in &record.remarks {
            *out += &format!("   {remark}\n");
        }
        if let Some(text) = &record.text {
            *out += &format!("{text}\n");
        }
    }
}

/// How many activations there are and which is the least precise; `None` where there are none.
fn least_precise(plan: &Plan) -> Option<String> {
    let known = plan
        .ranges
        .iter()
        .filter_map(|range| Some((&range.name, range.activation.as_ref()?)));
    let count = known.clone().count();
    let (name, worst) =
        known.min_by(|(_, a), (_, b)| a.precision_bits.total_cmp(&b.precision_bits))?;
    Some(format!(
        "{count} activations, precise to {:.1} bits of their range or better (least: {} `{name}`)",
        worst.precision_bits, worst.function
    ))
}
