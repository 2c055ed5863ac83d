//! Which filters of which files, with which parameters.
//!
//! **Invariant**: every parameter that was given is meant for at least one filter, else
//! nothing is run.

use crate::exit::{Exit, Failure};
use crate::input;
use crate::output::terminal::ColorChoice;
use crate::session::failure;
use kernel_vm::object::FilterMeta;
use kfilter_loader::host::bpf::system_values;
use kfilter_loader::params::{self, Given};
use kfilter_loader::sys::Kernel;
use kfilter_loader::{Object, Request};
use std::path::PathBuf;

/// Which filters, with what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Choice {
    /// Filters: source text or compiled objects; `-` is standard input; the name of a loaded
    /// filter where one can be swept
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Only the filter with this name; may be given several times
    #[arg(long = "filter", value_name = "NAME")]
    pub(crate) filters: Vec<String>,

    /// Give a parameter another value: max=50%, or cpu_hog.max=50% for one filter of several
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = params::split)]
    pub(crate) params: Vec<Given>,
}

/// A filter that is ready to be loaded.
pub(crate) struct Chosen<'a> {
    /// The filter with its parameters.
    pub(crate) request: Request<'a>,
    /// The filter of its `limit`'s `leave` condition.
    pub(crate) leave: Option<Request<'a>>,
    /// The parameters that were meant for it.
    pub(crate) params: Vec<Given>,
}

impl Choice {
    /// The objects of the files, compiled where they are source text.
    pub(crate) fn objects(
        &self,
        color: ColorChoice,
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Object>, Failure> {
        let mut objects = Vec::new();
        for path in &self.files {
            let bytes = input::object(path, color, say)?;
            objects.push(input::parse(path, &bytes)?);
        }
        Ok(objects)
    }

    /// The chosen filters of `objects` with their parameters.
    pub(crate) fn requests<'a>(&self, objects: &'a [Object]) -> Result<Vec<Chosen<'a>>, Failure> {
        let system = system_values(&Kernel);
        let chosen = self.choose(objects)?;
        let mut requests = Vec::new();
        for (object, filter) in &chosen {
            let params = self.params_of(filter, &chosen)?;
            let request = |name: &str| {
                Request::new(object, name, &params, system).map_err(|error| failure(&error))
            };
            requests.push(Chosen {
                request: request(&filter.name)?,
                leave: leave_of(filter).map(request).transpose()?,
                params: params.clone(),
            });
        }
        Ok(requests)
    }

    fn choose<'a>(
        &self,
        objects: &'a [Object],
    ) -> Result<Vec<(&'a Object, &'a FilterMeta)>, Failure> {
        let all: Vec<_> = objects
            .iter()
            .flat_map(|object| object.filters().iter().map(move |filter| (object, filter)))
            .filter(|(object, filter)| {
                let is_leave = |other| leave_of(other) == Some(filter.name.as_str());
                !object.filters().iter().any(is_leave)
            })
            .collect();
        let known =
            || all.iter().map(|(_, filter)| filter.name.as_str()).collect::<Vec<_>>().join(", ");
        for wanted in &self.filters {
            if !all.iter().any(|(_, filter)| filter.name == *wanted) {
                let message = format!("there is no filter `{wanted}`; there are {}", known());
                return Err(Failure::new(Exit::BadInput, message));
            }
        }
        if all.is_empty() {
            let names: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
            let message = format!("there is no filter of kfilter's in {}", names.join(", "));
            return Err(Failure::new(Exit::BadInput, message)
                .help("make an object of a filter with `kfilter compile`"));
        }
        let is_wanted =
            |filter: &FilterMeta| self.filters.is_empty() || self.filters.contains(&filter.name);
        Ok(all.into_iter().filter(|(_, filter)| is_wanted(filter)).collect())
    }

    /// The parameters meant for `filter`: those that it has, and those that name it.
    fn params_of(
        &self,
        filter: &FilterMeta,
        chosen: &[(&Object, &FilterMeta)],
    ) -> Result<Vec<Given>, Failure> {
        let mut meant = Vec::new();
        for (name, value) in &self.params {
            let has = |filter: &FilterMeta, name: &str| {
                filter.params.iter().any(|param| param.name == name)
            };
            match name.split_once('.') {
                Some((owner, name)) if owner == filter.name => {
                    meant.push((name.to_owned(), value.clone()));
                }
                Some((owner, _)) if chosen.iter().any(|(_, other)| other.name == owner) => {}
                // A lone filter's own error says what it has.
                None if has(filter, name) || chosen.len() == 1 => {
                    meant.push((name.clone(), value.clone()));
                }
                None if chosen.iter().any(|(_, other)| has(other, name)) => {}
                Some(_) | None => {
                    let message = format!("no filter has a parameter `{name}`");
                    return Err(Failure::new(Exit::BadInput, message));
                }
            }
        }
        Ok(meant)
    }
}

/// The name of the companion filter that matches those who behave again.
fn leave_of(filter: &FilterMeta) -> Option<&str> {
    filter.limit.as_ref()?.leave.as_deref()
}
