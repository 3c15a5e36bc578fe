// What people are told of at once. docs/operations.md says of each alert what it means and what to do.

@description('Begins the names of the alerts.')
param prefix string
param location string
param tags object
@description('Who is told, as addresses of mail.')
param mailAddresses array
param serviceBusId string
param workspaceId string
@description('A queue that never has fewer messages than this for half an hour stands still, or is more than the app can take.')
param standingQueueMessages int

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${prefix}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'imgfactory'
    enabled: true
    emailReceivers: [for (address, index) in mailAddresses: {
      name: 'mail-${index}'
      emailAddress: address
      useCommonAlertSchema: true
    }]
  }
}

var queueAlerts = [
  {
    name: 'dead-letters'
    description: 'A message is in a dead-letter queue: a step failed ten times, or its message expired.'
    severity: 1
    metric: 'DeadletteredMessages'
    aggregation: 'Maximum'
    threshold: 0
    window: 'PT5M'
  }
  {
    name: 'standing-queue'
    description: 'A queue was never emptied for half an hour.'
    severity: 2
    metric: 'ActiveMessages'
    aggregation: 'Minimum'
    threshold: standingQueueMessages
    window: 'PT30M'
  }
]

resource ofQueues 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in queueAlerts: {
  name: '${prefix}-${alert.name}'
  location: 'global'
  tags: tags
  properties: {
    description: alert.description
    severity: alert.severity
    enabled: true
    scopes: [
      serviceBusId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: alert.window
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: alert.name
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: alert.metric
          timeAggregation: alert.aggregation
          operator: 'GreaterThan'
          threshold: alert.threshold
          // Each queue counts for itself, and the alert names it.
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}]

var logAlerts = [
  {
    name: 'failed-runs'
    description: 'A run ended as failed: at least one image is not in all its labs.'
    severity: 2
    query: loadTextContent('../queries/failed-runs.kql')
    operator: 'GreaterThan'
    threshold: 0
    frequency: 'PT15M'
    window: 'PT15M'
    // A run fails once; nothing later takes that back.
    autoMitigate: false
  }
  {
    name: 'old-messages'
    description: 'A message waited for half an hour before it was taken.'
    severity: 2
    query: loadTextContent('../queries/old-messages.kql')
    operator: 'GreaterThan'
    threshold: 0
    frequency: 'PT15M'
    window: 'PT15M'
    autoMitigate: true
  }
  {
    name: 'leftovers'
    description: 'Cleanup met something that it could neither judge nor remove, at three ticks within an hour.'
    severity: 2
    query: loadTextContent('../queries/leftovers.kql')
    operator: 'GreaterThan'
    threshold: 2
    frequency: 'PT15M'
    window: 'PT1H'
    autoMitigate: true
  }
  {
    name: 'silence'
    description: 'Cleanup did not come through once in an hour: the app is stopped, cannot start, or cannot reach what it needs.'
    severity: 1
    query: loadTextContent('../queries/cleanup-ticks.kql')
    operator: 'LessThan'
    threshold: 1
    frequency: 'PT15M'
    window: 'PT1H'
    autoMitigate: true
  }
]

resource ofLogs 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for alert in logAlerts: {
  name: '${prefix}-${alert.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${prefix}-${alert.name}'
    description: alert.description
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: alert.operator
          threshold: alert.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: alert.autoMitigate
    // The tables have no rows, and perhaps no columns, before the app has started once.
    skipQueryValidation: true
    actions: {
      actionGroups: [
        people.id
      ]
    }
  }
}]
