// Up to a hundred images for a dozen labs: costs little, and nothing while no run goes on.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'image-factory')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')

// The labs of your own configuration. This path is the example's: put yours here.
param labs = loadJsonContent('../examples/Labs.json').Labs
param repository = readEnvironmentVariable('IMAGE_FACTORY_REPOSITORY')
param alertMailAddresses = split(readEnvironmentVariable('ALERT_MAIL'), ',')

param createFactoryLab = true
param mostMachines = 20
param machineSizes = [
  'Standard_D2s_v3'
  'Standard_D4s_v3'
]

param plan = 'flex'
param mostInstances = 40
param instanceMemoryMB = 512
param serviceBusSku = 'Standard'
param ledgerSku = 'Standard_LRS'
param logRetentionInDays = 31
// A bound for what a loop of errors can cost.
param logDailyQuotaGb = 1
param standingQueueMessages = 0
