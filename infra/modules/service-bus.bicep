// The Service Bus namespace: one queue per step and per word of people, each of the name of the function that it fires.

@description('Name of the namespace.')
param name string
param location string
param tags object
@description('Tier. Standard takes messages of 256 KB, which is far more than a step needs; Premium is for private networks.')
@allowed([
  'Standard'
  'Premium'
])
param sku string
@description('Principal id of the factory.')
param principalId string

// As in functions/: a queue that is missing here, or one that nobody reads, fails the tests.
var queues = [
  'start-run'
  'create-vm'
  'capture-image'
  'copy-image'
  'delete-vm'
  'retire-images'
  'cancel-run'
  'pin-image'
]

// Built-in roles. The factory receives (the host, for the triggers) and sends (the steps); it manages no queue.
var dataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var dataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? 1 : null
  }
  properties: {
    // No keys: whoever comes has an identity and a role.
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
  }
}

resource stepQueues 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = [for queue in queues: {
  parent: namespace
  name: queue
  properties: {
    // The host renews the lock for five minutes (maxAutoLockRenewalDuration in host.json), and no invocation takes longer. Five
    // minutes is the longest that Service Bus has; a shorter one would give a message to two instances when a renewal is lost.
    lockDuration: 'PT5M'
    // A step that must wait sends a message for later and succeeds, so that an abandoned message means a bug or a poison
    // message. Ten tries come through a restart of the app, and are over soon enough for people to hear of it.
    maxDeliveryCount: 10
    // The same message sent twice, after a crash between sending and answering, is dropped if it comes within ten minutes. That is
    // as long as cleanup waits before it sends a lost one again, with another id. Steps stand a repetition anyway.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT10M'
    // Longer than any deadline of a step, and than a weekend on which the app is stopped. Counted from when a scheduled message
    // is due.
    defaultMessageTimeToLive: 'P14D'
    // What expired was lost work: it is shown, not dropped.
    deadLetteringOnMessageExpiration: true
    // Every step stands messages in any order and on any instance.
    requiresSession: false
    // Partitions would tear the queue's order and its duplicate detection apart, for a throughput that nobody needs.
    enablePartitioning: false
    // A run of 1,000 images for 100 labs has 100,000 messages of some KB waiting at a time. This is the most of the tier Standard; it
    // costs nothing, and a queue that is full refuses messages.
    maxSizeInMegabytes: 5120
  }
}]

resource mayReceive 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace.id, principalId, dataReceiver)
  scope: namespace
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataReceiver)
  }
}

resource maySend 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(namespace.id, principalId, dataSender)
  scope: namespace
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataSender)
  }
}

output id string = namespace.id
// Of the endpoint https://{namespace}.servicebus.windows.net:443/, which differs from cloud to cloud.
output fullyQualifiedNamespace string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]
