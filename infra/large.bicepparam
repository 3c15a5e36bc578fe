// Hundreds of images for a hundred labs, with a factory lab of its own subscription, whose quota no other work takes.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'image-factory')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')

// The labs of your own configuration. This path is the example's: put yours here.
param labs = loadJsonContent('../examples/Labs.json').Labs
param repository = readEnvironmentVariable('IMAGE_FACTORY_REPOSITORY')
param alertMailAddresses = split(readEnvironmentVariable('ALERT_MAIL'), ',')

param createFactoryLab = false
param factoryLabName = readEnvironmentVariable('FACTORY_LAB_NAME', 'image-factory')
param factoryLabSubscriptionId = readEnvironmentVariable('FACTORY_LAB_SUBSCRIPTION')
param factoryLabResourceGroup = readEnvironmentVariable('FACTORY_LAB_GROUP')
param machinesResourceGroup = readEnvironmentVariable('FACTORY_MACHINES_GROUP', '')

param plan = 'flex'
param mostInstances = 100
param instanceMemoryMB = 2048
param serviceBusSku = 'Standard'
// The memory of a long run outlives the loss of a data centre.
param ledgerSku = 'Standard_ZRS'
param logRetentionInDays = 90
param logDailyQuotaGb = 20
// A run of 100,000 copies keeps a queue busy for hours, and is no emergency.
param standingQueueMessages = 2000
