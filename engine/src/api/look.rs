//! What can be looked at: models, the cluster, whether this process is well.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{App, ask::served, error::ApiError};
use crate::{node::ClusterView, prompt::PromptModel};

/// `GET /v1/models`: the model that is ready, if one is.
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let data: Vec<_> = app.node.model().iter().map(|model| entry(&app, model)).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// `GET /v1/models/{id}`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(entry(&app, &*served(&app, &id)?)))
}

fn entry(app: &App, model: &PromptModel) -> Value {
    json!({
        "id": model.name(),
        "object": "model",
        "created": app.started,
        "owned_by": "exo-node",
        "max_model_len": model.context_length(),
    })
}

/// `GET /v1/cluster`.
pub(super) async fn cluster(State(app): State<Arc<App>>) -> Json<ClusterView> {
    Json((*app.node.cluster()).clone())
}

/// `GET /healthz`: that it answers says that the process serves; `ready` says whether a model does.
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "status": "ok", "ready": app.node.model().is_some() }))
}
