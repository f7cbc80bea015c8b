"""The OpenAPI document of this server, with the real features and classes of the models that serve now."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from inference.core import DataPlane
from inference.gateway.examples import answer_of, example_of, tensor_body
from inference.generation import Generation
from inference.kinds import Kind
from inference.oip import SERVER_VERSION
from inference.oip.description import inputs_of
from inference.oip.outputs import outputs_of

__all__ = ["openapi_of"]

Schema = dict[str, Any]

#: Categories that a schema lists; of more it shows these as examples.
_MAX_CATEGORIES: Final = 100
_PREDICT_TOKEN: Final = "predict_token"  # noqa: S105  # the name of a scheme
_ADMIN_TOKEN: Final = "admin_token"  # noqa: S105  # the name of a scheme
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "violations"],
            "properties": {
                "code": {"type": "string", "description": "Name of a gRPC status"},
                "message": {"type": "string"},
                "violations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "description"],
                        "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                    },
                },
            },
        }
    },
}
_STATUSES: Final = {
    "400": "The request is wrong; the violations say where",
    "401": "The token is missing or wrong",
    "404": "No such model or version",
    "413": "Too many rows or bytes",
    "429": "Too many requests wait; try again after Retry-After",
    "503": "No model is loaded yet",
}


def openapi_of(plane: DataPlane, *, token: bool) -> Schema:
    """Return the document; `token` says whether predictions ask for one."""
    models = plane.catalog.generations
    secured: list[Schema] = [{_PREDICT_TOKEN: []}] if token else []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Predictions of {', '.join(dict.fromkeys(each.name for each in models)) or 'no model yet'}",
            "version": SERVER_VERSION,
            "description": "Made from the models that serve now. The same answers come over gRPC.",
        },
        "paths": {
            **_predict(plane, models, secured),
            **_open_inference(plane, models, secured),
            **_operations(),
        },
        "components": {
            "schemas": {"Error": _ERROR, **_schemas(plane, models)},
            "securitySchemes": {
                _PREDICT_TOKEN: {"type": "http", "scheme": "bearer", "description": "PREDICT_API_TOKEN"},
                _ADMIN_TOKEN: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Admin-Token",
                    "description": "ADMIN_API_TOKEN",
                },
            },
        },
    }


def _predict(plane: DataPlane, models: Sequence[Generation], secured: list[Schema]) -> Schema:
    numbers = range(len(models))
    examples = {
        f"model{number}": {
            "summary": f"{each.name} version {each.version}",
            "value": example_of(plane, each).body,
        }
        for number, each in enumerate(models)
    }
    content = {"schema": _any_of([_reference(f"Request{n}") for n in numbers]), "examples": examples}
    reply = {"schema": _any_of([_reference(f"Response{n}") for n in numbers])}
    operation = {
        "operationId": "predict",
        "summary": "Predict one output a row",
        "security": secured,
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"200": _described("The predictions, in the order of the rows", reply), **_refusals()},
    }
    return {"/predict": {"post": operation}}


def _open_inference(plane: DataPlane, models: Sequence[Generation], secured: list[Schema]) -> Schema:
    paths: Schema = {}
    for number, each in enumerate(models):
        path = f"/v2/models/{quote(each.name, safe='')}"
        if f"{path}/infer" in paths:  # another version of the same name
            path = f"{path}/versions/{quote(each.version, safe='')}"
        content = {
            "schema": _reference(f"Tensors{number}"),
            "example": tensor_body(example_of(plane, each), inputs_of(each.signature)),
        }
        paths[f"{path}/infer"] = {
            "post": {
                "operationId": f"infer{number}",
                "summary": f"Predict by {each.name} version {each.version}, in the Open Inference Protocol",
                "security": secured,
                "requestBody": {"required": True, "content": {"application/json": content}},
                "responses": {
                    "200": _described("The output tensors", {"schema": _reference(f"Outputs{number}")})
                },
            }
        }
        paths[path] = {"get": _plain(f"describe{number}", "Describe the inputs and outputs", secured=secured)}
        paths[f"{path}/ready"] = {"get": _plain(f"ready{number}", "Say whether the model is ready")}
    return paths


def _operations() -> Schema:
    change: list[Schema] = [{_ADMIN_TOKEN: []}]
    unready = {"503": {"description": "Not ready"}}
    uri = {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"model_uri": {"type": "string", "examples": ["models:/iris/2"]}},
                    "additionalProperties": False,
                }
            }
        },
    }
    reload = {**_plain("reload", "Serve what the model URI names now", secured=change), "requestBody": uri}
    rollback = _plain("rollback", "Serve the previous model again", secured=change)
    return {
        "/v2": {"get": _plain("server", "Describe the server")},
        "/v2/health/live": {"get": _plain("oip_live", "Say whether the process answers")},
        "/v2/health/ready": {"get": _plain("oip_ready", "Say whether every model is ready")},
        "/health": {"get": _plain("health", "Tell what serves and since when", unready)},
        "/health/live": {"get": _plain("live", "Say whether the process answers")},
        "/health/ready": {"get": _plain("ready", "Say whether traffic should come", unready)},
        "/metrics": {"get": _plain("metrics", "Prometheus metrics")},
        "/admin/reload": {"post": reload},
        "/admin/rollback": {"post": rollback},
    }


def _plain(name: str, summary: str, more: Schema | None = None, *, secured: Sequence[Schema] = ()) -> Schema:
    responses = {"200": {"description": "Done"}, **(more or {})}
    return {"operationId": name, "summary": summary, "security": [*secured], "responses": responses}


def _schemas(plane: DataPlane, models: Sequence[Generation]) -> Schema:
    schemas: Schema = {}
    for number, each in enumerate(models):
        schemas[f"Row{number}"] = _row(each)
        schemas[f"Request{number}"] = _request(plane, each, number)
        schemas[f"Response{number}"] = _response(each)
        schemas[f"Tensors{number}"] = _tensors(
            [(n, d, [*s]) for n, d, s in inputs_of(each.signature)], "inputs"
        )
        schemas[f"Outputs{number}"] = _tensors([(n, d, [*s]) for n, d, s in outputs_of(each)], "outputs")
    return schemas


def _row(generation: Generation) -> Schema:
    kinds = {kind.name: _cell(kind) for kind in generation.signature.kinds}
    named = {"type": "object", "properties": kinds, "required": [*kinds], "additionalProperties": False}
    count = len(kinds)
    listed = {"type": "array", "prefixItems": [*kinds.values()], "minItems": count, "maxItems": count}
    return {"title": f"A row of {generation.name}", "anyOf": [named, listed]}


def _cell(kind: Kind) -> Schema:
    missing = ["null"] if kind.nullable else []
    if not kind.is_category:
        number = "integer" if kind.whole else "number"
        return {"type": [number, *missing] if missing else number}
    if kind.takes_unknown:
        return {"type": ["string", *missing], "examples": [*kind.categories[:_MAX_CATEGORIES]]}
    if (
        len(kind.categories) > _MAX_CATEGORIES
    ):  # a schema that is read by people, and by what makes forms of it
        shown = f"One of {len(kind.categories)} texts, which GetModel lists"
        return {
            "type": ["string", *missing],
            "examples": [*kind.categories[:_MAX_CATEGORIES]],
            "description": shown,
        }
    return {"enum": [*kind.categories, *([None] if missing else [])]}


def _request(plane: DataPlane, generation: Generation, number: int) -> Schema:
    needed = example_of(plane, generation).names
    return {
        "title": f"Rows for {generation.name} version {generation.version}",
        "type": "object",
        "required": ["rows", *needed],
        "properties": {
            "rows": {"type": "array", "minItems": 1, "items": _reference(f"Row{number}")},
            "feature_names": {
                "type": "array",
                "items": {"enum": [*generation.signature.names]},
                "description": "The order of the numbers in rows that are lists; by default that of the model",
            },
            "model_name": {"const": generation.name},
            "model_version": {
                "type": "string",
                "description": "Version or alias",
                "examples": [generation.version],
            },
        },
        "additionalProperties": False,
    }


def _response(generation: Generation) -> Schema:
    texts = ("model_name", "model_version", "model_digest", "event_id")
    return {
        "title": f"Predictions of {generation.name} version {generation.version}",
        "type": "object",
        "required": ["predictions", *texts],
        "properties": {
            "predictions": {"type": "array", "items": _prediction(generation)},
            **{text: {"type": "string"} for text in texts},
        },
        "examples": [
            {
                "predictions": [answer_of(generation)],
                "model_name": generation.name,
                "model_version": generation.version,
                "model_digest": generation.digest,
                "event_id": "0" * 32,
            }
        ],
    }


def _prediction(generation: Generation) -> Schema:
    if not generation.classes:
        return {"type": "object", "required": ["value"], "properties": {"value": {"type": "number"}}}
    count = len(generation.classes)
    shares = {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count}
    properties = {
        "label": {"enum": [*generation.classes]},
        "class_index": {"type": "integer", "minimum": 0, "maximum": count - 1},
        "probabilities": {**shares, "description": f"In the order {', '.join(generation.classes)}"},
    }
    return {"type": "object", "required": ["label", "class_index"], "properties": properties}


def _tensors(tensors: Sequence[tuple[str, str, list[int]]], field: str) -> Schema:
    described = "; ".join(f"{name}: {datatype} {shape}" for name, datatype, shape in tensors)
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
    }
    return {
        "type": "object",
        "required": [field],
        "properties": {
            field: {
                "type": "array",
                "items": tensor,
                "description": f"{described}; -1 is the number of rows",
            },
            "id": {"type": "string"},
        },
    }


def _refusals() -> Schema:
    content = {"schema": _reference("Error")}
    return {status: _described(text, content) for status, text in _STATUSES.items()}


def _described(description: str, content: Schema) -> Schema:
    return {"description": description, "content": {"application/json": content}}


def _any_of(schemas: list[Schema]) -> Schema:
    return {"anyOf": schemas} if schemas else {"type": "object"}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
