//! `POST /api/setup`: whoever has the set-up link that the hub printed at its start becomes the first admin, once. Also where
//! registration is closed. Refusals look as the accounts' do.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    ApiError,
    accounts::{AccountError, Fields, check_new, signed_in, taken},
    extract::{Body, client_address},
};
use crate::{
    protocol::UserId,
    store::{FirstAdmin, SetupOutcome},
    worker::Worker,
};

/// `POST /api/setup` {token, username, password}: makes an account, or takes the one that is there, and makes it an admin.
pub(super) async fn setup(
    request: HttpRequest,
    body: Result<Body<()>, ApiError>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AccountError> {
    let mut fields = Fields::of(&request, body)?;
    let token = fields.text("token");
    let (name, password) = check_new(fields)?;
    let id = UserId::own(&name).ok_or_else(taken)?;
    let client = client_address(&request, &worker);
    worker.admission.registration(client).map_err(AccountError::Throttled)?;
    if !worker.store.is_setup_secret(&token).await? {
        return Err(AccountError::SetUp);
    }
    let outcome = match worker.store.account(&id).await? {
        None => {
            let hash = worker.passwords.hash(password).await?;
            worker.store.make_first_admin(&token, &id, FirstAdmin::New(&name, &hash)).await?
        }
        Some(known) => {
            worker.admission.sign_in(&name, client).map_err(AccountError::Throttled)?;
            let Some(hash) = known else { return Err(taken()) };
            if !worker.passwords.verify(password, Some(hash.clone())).await? {
                return Err(taken());
            }
            worker.store.make_first_admin(&token, &id, FirstAdmin::Known(&hash)).await?
        }
    };
    match outcome {
        SetupOutcome::Made => {}
        SetupOutcome::Refused => return Err(AccountError::SetUp),
        SetupOutcome::Taken => return Err(taken()),
    }
    // Whoever was signed in already is to be an admin from here on. The act itself is done: other nodes, and this one where
    // it is too busy now, learn it from the record.
    if let Err(error) = worker.handle.settle_user(id.clone()).await {
        tracing::warn!(%error, "the first admin's open sessions were not told at once");
    }
    tracing::info!(user = %id, "the first admin was made by the set-up link");
    signed_in(&worker, &id, &name)
}
