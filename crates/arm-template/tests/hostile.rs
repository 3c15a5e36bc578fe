//! Templates and expressions from nobody who means well.

use std::collections::BTreeMap;

use arm_template::{Evaluator, Scope, check, evaluate};
use hostile_bytes::{Attack, Grammar};
use serde_json::{Value, json};

/// What one evaluation may hold at once, whatever the template's size: values of up to 4 MB, and copies of them on the way.
const MEMORY: u64 = 512 << 20;

fn template() -> Value {
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "name": {"type": "string", "defaultValue": "[concat('vm', uniqueString(resourceGroup().id))]", "maxLength": 20},
            "count": {"type": "int", "defaultValue": 2, "minValue": 1, "maxValue": 5, "allowedValues": [1, 2, 3]},
            "secret": {"type": "securestring", "defaultValue": ""},
        },
        "variables": {
            "a": "[parameters('name')]",
            "b": {"list": ["[variables('a')]", 1, true], "text": "[[x]"},
            "copy": [{"name": "c", "count": 3, "input": "[concat('d', copyIndex('c'))]"}],
        },
        "resources": [
            {
                "type": "Microsoft.Network/networks", "apiVersion": "2020-01-01", "name": "net",
                "location": "[resourceGroup().location]",
                "copy": {"name": "nets", "count": "[parameters('count')]"}, "condition": false,
            },
            {
                "type": "Microsoft.DevTestLab/labs/virtualMachines", "apiVersion": "2018-09-15",
                "name": "[format('lab/{0:D3}', int(string(parameters('count'))))]", "dependsOn": ["nets"],
                "tags": {"[concat('hidden-', 'x')]": "y"},
                "properties": {
                    "size": "[if(equals(parameters('count'), 2), 'S2', 'S1')]",
                    "copy": [{
                        "name": "artifacts", "count": "[length(variables('c'))]",
                        "input": {"id": "[variables('c')[copyIndex('artifacts')]]"},
                    }],
                },
                "resources": [
                    {"type": "schedules", "apiVersion": "2018-09-15", "name": "s", "properties": {"n": "[range(0, 3)]"}},
                ],
            },
        ],
        "outputs": {"o": {"type": "string", "value": "[padLeft(variables('a'), 30, '0')]"}},
    })
}

#[test]
fn no_template_breaks_the_evaluator() {
    let words = [
        "[concat(",
        "[variables('b')]",
        "copyIndex()",
        "[range(0, 10000)]",
        "[padLeft('', 4000000, 'x')]",
        "\"count\":800",
        "[json('",
    ];
    let attack = Attack::on("templates", Grammar::Json)
        .sample(template().to_string())
        .words(words)
        .memory(MEMORY, 1024);
    attack.run(|bytes| {
        let template: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let found = check(&template);
        let told = found.iter().all(|error| !error.message.is_empty() && error.path.starts_with('$'));
        assert!(told, "{found:?}");
        evaluate(&template, &BTreeMap::new(), &Scope::default()).map(drop).map_err(|error| {
            assert!(error.path.starts_with('$'), "{error:?}");
            error.message
        })
    });
}

#[test]
fn no_expression_breaks_the_evaluator() {
    let samples = [
        "[concat('a', 'it''s', string(1))]",
        "[resourceId('rg', 'Microsoft.DevTestLab/labs/virtualMachines', 'l', 'v')]",
        "[substring(replace(toUpper('hello'), 'L', 'll'), 1, 3)]",
        "[union(createArray(1, 2), intersection(range(0, 5), createArray(3)))[0]]",
        "[json('{\"a\":[1,2,{\"b\":null}]}').a[2]]",
        "[format('{0:D4} {1,-10} {2:X2}', 7, 'x', 255)]",
        "[if(and(not(false()), less(1, max(1, 2))), base64ToString('eA=='), div(1, 0))]",
        "[split('a,b;c', createArray(',', ';'))]",
        "[take(skip(createArray('a', 'b', 'c'), 1), 5)]",
        "[coalesce(null(), createObject('k', 'v').k)]",
        "[guid(subscription().subscriptionId, deployment().name)]",
        "plain",
        "[[literal]",
    ];
    let words = [
        "concat(",
        "padLeft('',4194304,'x')",
        "range(0,10000)",
        "-9223372036854775808",
        "substring('é😀',1,1)",
        "json('",
        "split(",
        "createArray(",
        "[0]",
        ".a",
        "format('{0}{0}{0}',",
        "{0,32767}",
        "{0:D99}",
        "mul(9223372036854775807,2)",
        "mod(-9223372036854775808,-1)",
        "div(-9223372036854775808,-1)",
    ];
    let attack = Attack::on("expressions", Grammar::Text).samples(samples).words(words).memory(MEMORY, 1024);
    let evaluator = Evaluator::new(&template(), &BTreeMap::new(), &Scope::default()).unwrap();
    attack.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        evaluator.value(&Value::from(text.as_ref())).map(drop).map_err(|error| error.message)
    });
}

/// A template whose last variable is made of the one before ten times over, and so on down to the first.
fn laughs(again: impl Fn(&str) -> Value, kind: &str) -> String {
    let mut variables = json!({"v0": "ha"});
    for level in 1..12 {
        variables[format!("v{level}")] = again(&format!("variables('v{}')", level - 1));
    }
    let mut template = template();
    template["variables"] = variables;
    template["resources"] = json!([]);
    template["outputs"] = json!({"o": {"type": kind, "value": "[variables('v11')]"}});
    evaluate(&template, &BTreeMap::new(), &Scope::default()).unwrap_err().message
}

#[test]
fn a_billion_laughs_are_refused() {
    let message = laughs(|before| format!("[concat({})]", [before; 10].join(",")).into(), "string");
    assert!(message.contains("4 MB"), "{message}");
}

#[test]
fn a_billion_laughs_without_a_call_are_refused() {
    let message = laughs(|before| json!(vec![format!("[{before}]"); 10]), "array");
    assert!(message.contains("4 MB"), "{message}");
}
