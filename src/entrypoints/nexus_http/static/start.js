"use strict";

SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#api",
  validatorUrl: null, // by default the document is sent to a server on the internet
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
