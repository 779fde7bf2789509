//! plane forget: a plane that is away is unknown from then on, and its secret with it.

use sentinel_proto::v1::{PlaneForgetReply, PlaneForgetRequest};

use crate::core::{By, Core};
use crate::nearest::{did_you_mean, nearest};
use crate::refusal::Refusal;

/// Errors: no such plane, or several of that name; it is connected; the store's.
pub(super) async fn forget(core: &Core, asked: PlaneForgetRequest) -> Result<PlaneForgetReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    let (id, name) = named(core, &asked.id)?;
    let (parts, target) = (core.clone(), format!("plane {id} ({name})"));
    let deed = Box::pin(async move {
        let is_here = |id: &str| parts.fleet.see(|all| all.get(id).is_some_and(|plane| plane.link.is_some()));
        let refused = || Refusal::state(format!("plane {name} is connected; stop it first, then forget it"));
        if is_here(&id) {
            return Err(refused());
        }
        parts.keeper.store()?.forget_plane(&id).await?;
        if parts.fleet.forget(&id) { Ok(PlaneForgetReply { id, name }) } else { Err(refused()) }
    });
    core.act(&by, "plane.forget", target, "", deed, |_| "done".to_owned()).await
}

/// Id and name of the plane that `asked` means: an id, or a name that one plane alone has.
fn named(core: &Core, asked: &str) -> Result<(String, String), Refusal> {
    let known: Vec<(String, String)> =
        core.fleet.see(|all| all.values().map(|plane| (plane.id.clone(), plane.name.clone())).collect());
    let fits: Vec<_> = known.iter().filter(|(id, name)| id == asked || name == asked).collect();
    match fits.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let near = nearest(asked, known.iter().flat_map(|(id, name)| [id.as_str(), name.as_str()]));
            Err(Refusal::invalid(format!("no plane is known as {asked}{}", did_you_mean(&near))))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|(id, _)| id.as_str()).collect();
            Err(Refusal::invalid(format!(
                "{} planes are named {asked}; say which by its id: {}",
                ids.len(),
                ids.join(", ")
            )))
        }
    }
}
