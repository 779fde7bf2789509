//! The roles' fine print, judged on the arguments that will be sent; after it nothing touches them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    call::{Ask, Caller, ClientHash, Principal, Routed},
    catalogue::Target,
    denial::Denial,
    stages::arguments::Valid,
    view::policy::{Access, Policy},
};

/// The last proof: this call may be sent. `backend::lease` asks for it.
#[derive(Debug)]
pub struct Ruled(Valid);

impl Ruled {
    pub fn caller(&self) -> &Caller {
        self.0.admitted().visible().resolved().charged().caller()
    }

    pub fn call(&self) -> &Routed {
        self.0.admitted().visible().resolved().charged().call()
    }

    pub fn target(&self) -> &Arc<Target> {
        self.0.admitted().visible().target()
    }

    /// Whose it is, for who shares something out by clients.
    pub fn client(&self) -> ClientHash {
        self.0.admitted().visible().resolved().charged().client()
    }

    /// Mode `warn`: its arguments don't fit the schema.
    pub fn is_misfit(&self) -> bool {
        self.0.is_misfit()
    }
}

/// Errors: `Forbidden`, naming the rule that did not hold of the last role that was tried.
pub fn permit(call: Valid) -> Result<Ruled, Denial> {
    let visible = call.admitted().visible();
    let caller = visible.resolved().charged().caller();
    let asked = visible.resolved().charged().call();
    hold(&caller.view().policy, caller.principal(), (asked.ask, &asked.name), call.arguments())?;
    Ok(Ruled(call))
}

/// The decision alone; no arguments are `{}`.
pub fn hold(
    policy: &Policy,
    principal: &Principal,
    (ask, name): (Ask, &Arc<str>),
    arguments: Option<&Value>,
) -> Result<(), Denial> {
    let broken = match ask.access(policy, principal, name) {
        Access::Hidden => return Err(Denial::unknown(ask, name, true)),
        Access::Open => None,
        Access::Ruled(rules) => {
            let none = Value::Object(Map::new());
            rules.broken(arguments.unwrap_or(&none))
        }
    };
    broken.map_or(Ok(()), |rule| Err(Denial::Forbidden { rule }))
}
