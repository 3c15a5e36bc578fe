// The queries of infra/queries judged by Microsoft's own language service of KQL, which Azure's editors run.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { describe, it } from "node:test";

const load = createRequire(import.meta.url);
// Both put what they have into the global scope.
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

// https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces, apprequests and appmetrics: what they have in common,
const COMMON = `TenantId: string, TimeGenerated: datetime, OperationName: string, OperationId: string, ParentId: string, SyntheticSource: string,
  SessionId: string, UserId: string, UserAuthenticatedId: string, UserAccountId: string, AppVersion: string, AppRoleName: string,
  AppRoleInstance: string, ClientType: string, ClientModel: string, ClientOS: string, ClientIP: string, ClientCity: string,
  ClientStateOrProvince: string, ClientCountryOrRegion: string, ClientBrowser: string, ResourceGUID: string, IKey: string,
  SDKVersion: string, ItemCount: int, ReferencedItemId: string, ReferencedType: string, SourceSystem: string, Type: string,
  Properties: dynamic, _ResourceId: string, _SubscriptionId: string, _IsBillable: string, _BilledSize: real`;
// and what each has of its own.
const TABLES = {
  AppTraces: "Message: string, SeverityLevel: int",
  AppRequests: `Id: string, Source: string, Name: string, Url: string, Success: bool, ResultCode: string, DurationMs: real,
    PerformanceBucket: string, Measurements: dynamic`,
  AppMetrics: "Name: string, Sum: real, Min: real, Max: real",
};

const tables = Object.entries(TABLES).map(([name, columns]) => Symbols.TableSymbol.From(`(${COMMON}, ${columns})`).WithName(name));
const workspace = new Symbols.DatabaseSymbol.$ctor1("workspace", tables);
const globals = GlobalState.Default.WithDatabase(workspace);

/** What the service says against a query. */
function problems(query) {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, at) => found.getItem(at)).map((problem) => {
    const line = query.slice(0, problem.Start).split("\n").length;
    return `${problem.Severity} in line ${line}: ${problem.Message}`;
  });
}

describe("the queries of infra/queries", () => {
  const folder = path.join(process.env.INFRA, "queries");
  const files = readdirSync(folder);
  it("are there", () => assert.ok(files.length > 10, files.join()));
  for (const file of files) {
    it(`${file} is a query of what a workspace has`, () => {
      assert.deepEqual(problems(readFileSync(path.join(folder, file), "utf8")), []);
    });
  }
});

describe("the judge refuses", () => {
  for (const [what, query, says] of [
    ["a table that there is not", "AppTrace | count", "AppTrace"],
    ["a column that there is not", "AppTraces | where Massage has 'ended'", "Massage"],
    ["a function that there is not", "AppTraces | extend line = parse_jsn(Message)", "parse_jsn"],
    ["what is no text to search", "AppTraces | where SeverityLevel has 'a'", "string"],
    ["a column that was projected away", "AppTraces | project Message | order by TimeGenerated", "TimeGenerated"],
    ["half a statement", "AppTraces | where (Message has 'ended'", ")"],
  ]) {
    it(what, () => {
      const found = problems(query);
      assert.ok(found.some((problem) => problem.includes(says)), found.join());
    });
  }
});
