// A workbook over the log: what goes on, what failed and why, how long things take. Its queries are those of infra/queries/, of which
// a test says whether the handler writes what they ask for.

@description('Name of the workbook, as people see it.')
param displayName string
param location string
param tags object
@description('Resource id of the workspace with the log.')
param workspaceId string
@description('Resource id of the Service Bus namespace.')
param serviceBusId string

var workspaceType = 'microsoft.operationalinsights/workspaces'
var namespaceType = 'microsoft.servicebus/namespaces'

var parts = [
  {
    title: 'What goes on'
    query: loadTextContent('../queries/running.kql')
    visualization: 'table'
  }
  {
    title: 'Runs that failed'
    query: loadTextContent('../queries/failed-runs.kql')
    visualization: 'table'
  }
  {
    title: 'Images and copies that failed, with Azure\'s own reason'
    query: loadTextContent('../queries/failed-items.kql')
    visualization: 'table'
  }
  {
    title: 'Failures by reason'
    query: loadTextContent('../queries/failures-by-reason.kql')
    visualization: 'table'
  }
  {
    title: 'How long steps take, in minutes'
    query: loadTextContent('../queries/step-durations.kql')
    visualization: 'table'
  }
  {
    title: 'Calls that Azure throttled, by service'
    query: loadTextContent('../queries/throttles.kql')
    visualization: 'barchart'
  }
  {
    title: 'Images of each lab, and the one that was renewed least lately'
    query: loadTextContent('../queries/image-age.kql')
    visualization: 'table'
  }
  {
    title: 'What cleanup could neither judge nor remove'
    query: loadTextContent('../queries/leftovers.kql')
    visualization: 'table'
  }
  {
    title: 'What cleanup removed'
    query: loadTextContent('../queries/removed.kql')
    visualization: 'table'
  }
  {
    title: 'Invocations that failed, whose messages may become dead letters'
    query: loadTextContent('../queries/failed-invocations.kql')
    visualization: 'table'
  }
  {
    title: 'Messages that waited for more than half an hour'
    query: loadTextContent('../queries/old-messages.kql')
    visualization: 'table'
  }
  {
    title: 'Gauges, where a collector leads metrics here'
    query: loadTextContent('../queries/gauges.kql')
    visualization: 'table'
  }
]

var range = {
  type: 9
  name: 'range'
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [
      {
        id: guid(displayName, 'range')
        version: 'KqlParameterItem/1.0'
        name: 'range'
        label: 'Time'
        type: 4
        isRequired: true
        // A week, in milliseconds.
        value: {
          durationMs: 604800000
        }
        typeSettings: {
          selectableValues: [
            {
              durationMs: 14400000
            }
            {
              durationMs: 86400000
            }
            {
              durationMs: 604800000
            }
            {
              durationMs: 2592000000
            }
          ]
          allowCustom: true
        }
      }
    ]
    style: 'pills'
    queryType: 0
    resourceType: workspaceType
  }
}

var tables = [for part in parts: {
  type: 3
  name: part.title
  content: {
    version: 'KqlItem/1.0'
    title: part.title
    query: part.query
    size: 0
    showExportToExcel: true
    noDataMessage: 'Nothing in this time.'
    timeContextFromParameter: 'range'
    queryType: 0
    resourceType: workspaceType
    crossComponentResources: [
      workspaceId
    ]
    visualization: part.visualization
  }
}]

var queueMetrics = [
  {
    title: 'Dead letters, by queue'
    metric: 'DeadletteredMessages'
  }
  {
    title: 'Messages to be worked on, by queue'
    metric: 'ActiveMessages'
  }
]

var charts = [for chart in queueMetrics: {
  type: 10
  name: chart.title
  content: {
    version: 'MetricsItem/2.0'
    chartId: guid(displayName, chart.metric)
    title: chart.title
    size: 0
    chartType: 2
    resourceType: namespaceType
    metricScope: 0
    resourceIds: [
      serviceBusId
    ]
    timeContextFromParameter: 'range'
    metrics: [
      {
        namespace: namespaceType
        metric: '${namespaceType}--${chart.metric}'
        // The maximum.
        aggregation: 3
        splitBy: 'EntityName'
      }
    ]
  }
}]

resource workbook 'Microsoft.Insights/workbooks@2022-04-01' = {
  name: guid(resourceGroup().id, displayName)
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: displayName
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat([
        range
      ], tables, charts)
      fallbackResourceIds: [
        workspaceId
      ]
      '$schema': 'https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json'
    })
  }
}
