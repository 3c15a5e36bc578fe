// Where logs and metrics go: a Log Analytics workspace, and Application Insights on it. host.json keeps requests and log lines from
// being sampled, because alerts rest on single lines.

@description('Name of the workspace.')
param workspaceName string
@description('Name of the Application Insights component.')
param componentName string
param location string
param tags object
@description('How many days logs are kept. 31 days are in the price of ingestion.')
@minValue(30)
@maxValue(730)
param retentionInDays int
@description('Most gigabytes a day; -1 for no limit. What comes after that is lost until the next day.')
param dailyQuotaGb int
@description('Principal id of the factory, which writes telemetry.')
param principalId string

// Built-in role Monitoring Metrics Publisher: Application Insights takes telemetry of those who have it.
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource workspace 'Microsoft.OperationalInsights/workspaces@2022-10-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionInDays
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: componentName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // Whoever knows the instrumentation key could write lines into the log, on which alerts rest.
    DisableLocalAuth: true
  }
}

resource mayWriteTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, principalId, metricsPublisher)
  scope: component
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

output workspaceId string = workspace.id
output connectionString string = component.properties.ConnectionString
