#!/bin/sh
# Puts the program into the function app: the package that PACKAGE names, or one that is made here and now. azd runs this after it has
# made everything; by hand: sh -c 'set -a; eval "$(azd env get-values)"; infra/deploy.sh'
set -eu
cd "$(dirname "$0")/.."

: "${AZURE_RESOURCE_GROUP:?is given by infra/main.bicep}"
: "${FACTORY_APP:?is given by infra/main.bicep}"
: "${FACTORY_PLAN:?is given by infra/main.bicep}"
: "${FACTORY_HOST_STORAGE:?is given by infra/main.bicep}"
: "${FACTORY_PACKAGE_CONTAINER:?is given by infra/main.bicep}"

package=${PACKAGE:-}
if [ -z "$package" ]; then
  package=${CARGO_TARGET_DIR:-target}/image-factory.zip
  cargo run --locked -- package --out "$package"
fi

if [ "$FACTORY_PLAN" = flex ]; then
  az functionapp deployment source config-zip --resource-group "$AZURE_RESOURCE_GROUP" --name "$FACTORY_APP" --src "$package"
else
  # The app reads it from there with its identity, when it starts.
  az storage blob upload --auth-mode login --account-name "$FACTORY_HOST_STORAGE" \
    --container-name "$FACTORY_PACKAGE_CONTAINER" --name image-factory.zip --file "$package" --overwrite
  az functionapp restart --resource-group "$AZURE_RESOURCE_GROUP" --name "$FACTORY_APP"
fi

# Without this an app that sleeps does not learn of new triggers.
az resource invoke-action --action syncfunctiontriggers --resource-group "$AZURE_RESOURCE_GROUP" \
  --resource-type Microsoft.Web/sites --name "$FACTORY_APP"
