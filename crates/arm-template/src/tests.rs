use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scope() -> Scope {
    Scope {
        subscription_id: "5b2f2d1c-0000-4000-8000-000000000001".to_owned(),
        resource_group: "factory-rg".to_owned(),
        resource_group_location: "westeurope".to_owned(),
        deployment_name: "run1".to_owned(),
        tenant_id: "5b2f2d1c-0000-4000-8000-00000000000f".to_owned(),
    }
}

fn parameters(values: Value) -> BTreeMap<String, Value> {
    values.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn template(extra: Value) -> Value {
    let mut template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [],
    });
    for (key, value) in extra.as_object().unwrap() {
        template[key] = value.clone();
    }
    template
}

fn try_value(text: &str) -> Result<Value, TemplateError> {
    let template = template(json!({
        "parameters": {"lab": {"type": "string"}, "a.b": {"type": "int", "defaultValue": 7}},
        "variables": {"list": ["one", "two"], "object": {"Name": "x", "with-dash": true}},
    }));
    Evaluator::new(&template, &parameters(json!({"LAB": "factory"})), &scope()).unwrap().value(&json!(text))
}

fn value(text: &str) -> Value {
    try_value(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    let error = try_value(text).expect_err(text);
    assert_eq!(error.code, "InvalidTemplate");
    error.message
}

#[test]
fn strings_are_literal_unless_brackets_enclose_them() {
    assert_eq!(value("plain"), "plain");
    assert_eq!(value("[test] x"), "[test] x");
    assert_eq!(value("[[escaped]"), "[escaped]");
    assert_eq!(value("[[[adminPassword]]"), "[[adminPassword]]");
    assert_eq!(value("['it''s']"), "it's");
    assert_eq!(value("[ concat ( 'a' , 'b' ) ]"), "ab");
    assert_eq!(value(""), "");
}

#[test]
fn names_ignore_case() {
    assert_eq!(value("[ConCat(Parameters('Lab'), '-', VARIABLES('OBJECT').name)]"), "factory-x");
    assert_eq!(value("[parameters('A.B')]"), 7);
}

#[test]
fn members_and_items_are_selected() {
    assert_eq!(value("[variables('list')[1]]"), "two");
    assert_eq!(value("[variables('object')['with-dash']]"), true);
    assert_eq!(value("[resourceGroup().location]"), "westeurope");
    assert!(refusal("[variables('object').nope]").contains("available properties are 'Name, with-dash'"));
    assert!(refusal("[variables('list')[2]]").contains("out of bounds"));
    assert!(refusal("[variables('list')[-1]]").contains("out of bounds"));
    assert!(refusal("[parameters('lab').x]").contains("of type 'String'"));
}

#[test]
fn resource_ids_take_every_form() {
    let base = "/subscriptions/5b2f2d1c-0000-4000-8000-000000000001/resourceGroups/factory-rg/providers";
    assert_eq!(
        value(
            "[resourceId ('Microsoft.DevTestLab/labs/artifactSources/artifacts', parameters('lab'), 'public repo', 'windows-sysprep')]"
        ),
        format!(
            "{base}/Microsoft.DevTestLab/labs/factory/artifactSources/public repo/artifacts/windows-sysprep"
        )
    );
    assert_eq!(
        value("[resourceId('other', 'Microsoft.DevTestLab/labs', 'x')]"),
        "/subscriptions/5b2f2d1c-0000-4000-8000-000000000001/resourceGroups/other/providers/Microsoft.DevTestLab/labs/x"
    );
    assert_eq!(
        value("[resourceId('sub', 'other', 'Microsoft.DevTestLab/labs', 'x')]"),
        "/subscriptions/sub/resourceGroups/other/providers/Microsoft.DevTestLab/labs/x"
    );
    assert_eq!(
        value("[subscriptionResourceId('A.B/c', 'x')]"),
        "/subscriptions/5b2f2d1c-0000-4000-8000-000000000001/providers/A.B/c/x"
    );
    assert!(refusal("[resourceId('Microsoft.DevTestLab/labs', 'x', 'y')]").contains("requires '1'"));
    assert!(refusal("[resourceId('labs', 'x')]").contains("fully qualified"));
}

#[test]
fn text_functions_do_what_azure_documents() {
    for (text, expected) in [
        ("[padLeft('7', 3, '0')]", json!("007")),
        ("[padLeft(7, 3)]", json!("  7")),
        ("[string(true())]", json!("True")),
        ("[string(createArray(1, 'a'))]", json!("[1,\"a\"]")),
        ("[trim('  x ')]", json!("x")),
        ("[replace('a-b-c', '-', '')]", json!("abc")),
        ("[toLower('AbC')]", json!("abc")),
        ("[toUpper('AbC')]", json!("ABC")),
        ("[split('a,b;c', createArray(',', ';'))]", json!(["a", "b", "c"])),
        ("[split('a,,b', ',')]", json!(["a", "", "b"])),
        ("[substring('abcdef', 2)]", json!("cdef")),
        ("[substring('abcdef', 2, 3)]", json!("cde")),
        ("[take('abcdef', 2)]", json!("ab")),
        ("[take('ab', 20)]", json!("ab")),
        ("[skip('abcdef', 4)]", json!("ef")),
        ("[first('abc')]", json!("a")),
        ("[last(split('a/b/c', '/'))]", json!("c")),
        ("[startsWith('abc', 'AB')]", json!(true)),
        ("[endsWith('abc', 'BC')]", json!(true)),
        ("[indexOf('abcABC', 'C')]", json!(2)),
        ("[lastIndexOf('abcABC', 'c')]", json!(5)),
        ("[indexOf('abc', 'z')]", json!(-1)),
        ("[format('{0}-{1:D3}-{{x}}-{0,5}', 'a', 7)]", json!("a-007-{x}-    a")),
        ("[base64('one')]", json!("b25l")),
        ("[base64ToString('b25l')]", json!("one")),
        ("[json('{\"a\": [1, null]}').a[0]]", json!(1)),
        ("[uniqueString('test')]", json!("rbgf3xv4ufgzg")),
        ("[length(guid('a'))]", json!(36)),
        ("[concat('a', 1, true())]", json!("a1True")),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    assert!(refusal("[substring('abc', 2, 5)]").contains("within the string"));
    assert!(refusal("[concat('a', createArray())]").contains("array"));
    assert!(refusal("[format('{1}', 'a')]").contains("{1}"));
}

#[test]
fn collections_logic_and_numbers_do_what_azure_documents() {
    for (text, expected) in [
        ("[concat(createArray(1), createArray(2, 3))]", json!([1, 2, 3])),
        ("[union(createArray(1, 2), createArray(2, 3))]", json!([1, 2, 3])),
        (
            "[union(json('{\"a\":{\"x\":1}}'), json('{\"a\":{\"y\":2},\"b\":3}'))]",
            json!({"a": {"x": 1, "y": 2}, "b": 3}),
        ),
        ("[intersection(createArray(1, 2), createArray(2, 3))]", json!([2])),
        ("[createObject('a', 1, 'b', createArray())]", json!({"a": 1, "b": []})),
        ("[array('x')]", json!(["x"])),
        ("[coalesce(null(), null(), 'x')]", json!("x")),
        ("[empty('')]", json!(true)),
        ("[length(createArray(1, 2))]", json!(2)),
        ("[contains('abc', 'b')]", json!(true)),
        ("[contains(variables('object'), 'NAME')]", json!(true)),
        ("[contains(createArray('a'), 'A')]", json!(false)),
        ("[if(equals('a', 'a'), 'yes', variables('missing-but-never-looked-at'))]", json!("yes")),
        ("[and(true(), not(false()))]", json!(true)),
        ("[or(false(), false())]", json!(false)),
        ("[bool('True')]", json!(true)),
        ("[int('42')]", json!(42)),
        ("[add(1, mul(2, 3))]", json!(7)),
        ("[sub(1, 3)]", json!(-2)),
        ("[div(7, 2)]", json!(3)),
        ("[mod(7, 2)]", json!(1)),
        ("[min(createArray(3, 1, 2))]", json!(1)),
        ("[max(3, 1, 2)]", json!(3)),
        ("[range(5, 3)]", json!([5, 6, 7])),
        ("[greaterOrEquals(2, 2)]", json!(true)),
        ("[less('a', 'b')]", json!(true)),
        ("[join(createArray('a', 'b'), '-')]", json!("a-b")),
        ("[subscription().subscriptionId]", json!("5b2f2d1c-0000-4000-8000-000000000001")),
        ("[deployment().name]", json!("run1")),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    assert!(refusal("[div(1, 0)]").contains("division by zero"));
    assert!(refusal("[range(0, 100000)]").contains("10000"));
    assert!(refusal("[add(9223372036854775807, 1)]").contains("64-bit"));
}

#[test]
fn unknown_functions_are_refused_in_azures_words() {
    let message = refusal("[concat('a', listKeys('x', '2019-06-01').keys)]");
    assert!(message.contains("Unable to process template language expressions"), "{message}");
    assert!(message.contains("The template function 'listKeys' is not valid."), "{message}");
    // Even where nothing would ask for it.
    let unused = template(json!({"variables": {"unused": "[nosuch('x')]"}}));
    let error = evaluate(&unused, &BTreeMap::new(), &scope()).unwrap_err();
    assert_eq!(error.path, "$.variables.unused");
}

#[test]
fn broken_expressions_say_where() {
    for text in
        ["[]", "[concat(]", "[concat('a',)]", "['a]", "[concat('a') 'b']", "[a..b()]", "[concat]", "[5x]"]
    {
        assert!(refusal(text).contains("at path '$'"), "{text}");
    }
    let long = format!("['{}']", "x".repeat(24_576));
    assert!(refusal(&long).contains("24576"));
    let deep = format!("[{}'x'{}]", "string(".repeat(2000), ")".repeat(2000));
    assert!(refusal(&deep).contains("nested deeper"));
}

#[test]
fn given_values_are_never_evaluated() {
    let template = template(json!({"parameters": {"p": {"type": "securestring"}}}));
    let evaluator = Evaluator::new(&template, &parameters(json!({"p": "[concat('x')]"})), &scope()).unwrap();
    assert_eq!(evaluator.value(&json!("[parameters('p')]")).unwrap(), "[concat('x')]");
    assert!(!format!("{evaluator:?}").contains("concat"));
}

#[test]
fn parameters_are_held_to_their_declarations() {
    let refuse = |declaration: Value, given: Value| {
        let template = template(json!({"parameters": {"p": declaration}}));
        let error = evaluate(&template, &parameters(given), &scope()).unwrap_err();
        assert_eq!(error.code, "InvalidTemplate");
        error.message
    };
    assert!(
        refuse(json!({"type": "string"}), json!({})).contains("The value for the template parameter 'p'")
    );
    assert!(refuse(json!({"type": "string"}), json!({"p": "a", "q": 1})).contains("parameters 'q'"));
    assert!(
        refuse(json!({"type": "string"}), json!({"p": 5}))
            .contains("Expected 'String, Uri'. Actual 'Integer'")
    );
    assert!(
        refuse(json!({"type": "string", "allowedValues": ["a"]}), json!({"p": "b"}))
            .contains("allowed value(s): 'a'")
    );
    assert!(
        refuse(json!({"type": "string", "minLength": 3}), json!({"p": "b"}))
            .contains("greater than or equal to '3'")
    );
    assert!(
        refuse(json!({"type": "array", "maxLength": 1}), json!({"p": [1, 2]}))
            .contains("less than or equal to '1'")
    );
    assert!(refuse(json!({"type": "int", "maxValue": 1}), json!({"p": 2})).contains("maxValue"));
    assert!(refuse(json!({"type": "text"}), json!({"p": "b"})).contains("no valid 'type'"));
    assert!(
        refuse(json!({"type": "int", "defaultValue": "[concat('a')]"}), json!({}))
            .contains("Expected 'Integer'")
    );
    let secret = refuse(json!({"type": "SecureString", "minLength": 30}), json!({"p": "hunter2"}));
    assert!(!secret.contains("hunter2"));
}

#[test]
fn circles_are_noticed() {
    let variables = template(json!({
        "variables": {"a": "[variables('b')]", "b": "[concat(variables('A'))]"},
        "outputs": {"o": {"type": "string", "value": "[variables('a')]"}},
    }));
    let error = evaluate(&variables, &BTreeMap::new(), &scope()).unwrap_err();
    assert!(error.message.contains("circular dependency"), "{error}");
    let defaults =
        template(json!({"parameters": {"a": {"type": "string", "defaultValue": "[parameters('a')]"}}}));
    assert!(evaluate(&defaults, &BTreeMap::new(), &scope()).is_err());
    let resources = template(json!({"resources": [
        {"type": "A.B/c", "name": "x", "apiVersion": "1", "dependsOn": ["y"]},
        {"type": "A.B/c", "name": "y", "apiVersion": "1", "dependsOn": ["[resourceId('A.B/c', 'x')]"]},
    ]}));
    let error = evaluate(&resources, &BTreeMap::new(), &scope()).unwrap_err();
    assert!(error.message.contains("Circular dependency"), "{error}");
}

#[test]
fn variables_are_found_out_of_order_and_in_copies() {
    let template = template(json!({
        "variables": {
            "first": "[concat(variables('second'), '!')]",
            "second": "x",
            "copy": [{"name": "names", "count": 3, "input": "[concat('n', copyIndex('names', 1))]"}],
            "disks": {"copy": [{"name": "data", "count": 2, "input": {"lun": "[copyIndex('data')]"}}]},
        },
    }));
    let evaluator = Evaluator::new(&template, &BTreeMap::new(), &scope()).unwrap();
    assert_eq!(evaluator.value(&json!("[variables('first')]")).unwrap(), "x!");
    assert_eq!(evaluator.value(&json!("[variables('names')]")).unwrap(), json!(["n1", "n2", "n3"]));
    assert_eq!(
        evaluator.value(&json!("[variables('disks').data]")).unwrap(),
        json!([{"lun": 0}, {"lun": 1}])
    );
    assert!(evaluator.value(&json!("[variables('copy')]")).is_err());
}

#[test]
fn resources_are_expanded_flattened_and_ordered() {
    let template = template(json!({
        "parameters": {"count": {"type": "int", "defaultValue": 2}},
        "resources": [
            {
                "type": "Microsoft.DevTestLab/labs/virtualmachines",
                "name": "[concat('lab/', 'vm', padLeft(copyIndex(1), 2, '0'))]",
                "apiVersion": "2018-09-15",
                "location": "[resourceGroup().location]",
                "copy": {"name": "vms", "count": "[parameters('count')]"},
                "dependsOn": ["lab"],
                "tags": {"[concat('k', copyIndex())]": "v"},
                "properties": {
                    "notes": "[[not an expression]",
                    "copy": [{"name": "artifacts", "count": 2, "input": {"artifactId": "[concat(copyIndex('vms'), '/', copyIndex('artifacts'))]"}}],
                },
            },
            {
                "type": "Microsoft.DevTestLab/labs",
                "name": "lab",
                "apiVersion": "2018-09-15",
                "resources": [
                    {"type": "virtualnetworks", "name": "net", "apiVersion": "2018-09-15", "dependsOn": ["lab", "gone"]},
                ],
            },
            {"type": "A.B/c", "name": "gone", "apiVersion": "1", "condition": "[equals(1, 2)]"},
            {"type": "A.B/c", "name": "last", "apiVersion": "1", "dependsOn": ["vms"]},
        ],
    }));
    let evaluated = evaluate(&template, &BTreeMap::new(), &scope()).unwrap();
    let names: Vec<_> = evaluated.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["lab", "lab/vm01", "lab/vm02", "lab/net", "last"]);
    let vm = &evaluated.resources[2];
    assert_eq!(vm.location.as_deref(), Some("westeurope"));
    assert_eq!(vm.tags(), &json!({"k1": "v"}));
    assert_eq!(
        vm.properties(),
        &json!({"notes": "[not an expression]", "artifacts": [{"artifactId": "1/0"}, {"artifactId": "1/1"}]})
    );
    assert_eq!(evaluated.resources[3].resource_type, "Microsoft.DevTestLab/labs/virtualnetworks");
    assert_eq!(evaluated.resources[4].depends_on.len(), 2);
    assert!(vm.body.get("copy").is_none() && vm.body.get("dependsOn").is_none());
}

#[test]
fn faulty_resources_are_refused() {
    let refuse = |resources: Value| {
        evaluate(&template(json!({"resources": resources})), &BTreeMap::new(), &scope()).unwrap_err().message
    };
    let one = json!({"type": "A.B/c", "name": "x", "apiVersion": "1"});
    assert!(
        refuse(json!([one, {"type": "a.b/C", "name": "X", "apiVersion": "1"}]))
            .contains("defined multiple times")
    );
    assert!(
        refuse(json!([{"type": "A.B/c", "name": "x/y", "apiVersion": "1"}]))
            .contains("incorrect segment lengths")
    );
    assert!(refuse(json!([{"type": "A.B/c", "name": "x"}])).contains("no 'apiVersion'"));
    assert!(
        refuse(json!([{"type": "A.B/c", "name": "x", "apiVersion": "1", "dependsOn": ["nothing"]}]))
            .contains("'nothing' is not defined")
    );
    assert!(
        refuse(json!([{"type": "A.B/c", "name": "[concat('x', copyIndex())]", "apiVersion": "1"}]))
            .contains("copy specified")
    );
    let copies = json!([{"type": "A.B/c", "name": "[concat('x', copyIndex())]", "apiVersion": "1", "copy": {"name": "l", "count": 801}}]);
    assert!(refuse(copies).contains("count"));
    let copies = json!([{"type": "A.B/c", "name": "[concat('x', copyIndex())]", "apiVersion": "1", "copy": {"name": "l", "count": -1}}]);
    assert!(refuse(copies).contains("count"));
    assert!(refuse(json!({"x": 1})).contains("must be an array"));
}

struct World;

impl References for World {
    fn reference(&self, id_or_name: &str, _: Option<&str>) -> Option<Value> {
        id_or_name
            .to_lowercase()
            .ends_with("lab")
            .then(|| json!({"location": "westus", "properties": {"vaultName": "v1"}}))
    }
}

#[test]
fn references_wait_for_the_deployment() {
    let template = template(json!({
        "parameters": {"password": {"type": "securestring"}},
        "resources": [
            {"type": "A.B/c", "name": "x", "apiVersion": "1", "properties": {"vault": "[reference('lab').vaultName]", "plain": "[toLower('A')]"}},
            {"type": "Microsoft.DevTestLab/labs", "name": "lab", "apiVersion": "2018-09-15"},
        ],
        "outputs": {
            "vault": {"type": "string", "value": "[reference(resourceId('Microsoft.DevTestLab/labs', 'lab'), '2018-09-15').vaultName]"},
            "full": {"type": "string", "value": "[reference('lab', '2018-09-15', 'Full').location]"},
            "secret": {"type": "securestring", "value": "[parameters('password')]"},
            "many": {"type": "array", "copy": {"count": 2, "input": "[copyIndex()]"}},
        },
    }));
    let evaluated = evaluate(&template, &parameters(json!({"password": "hunter2"})), &scope()).unwrap();
    assert!(evaluated.secure_parameters.contains("password"));
    assert!(!format!("{evaluated:?}").contains("hunter2"));
    let x = &evaluated.resources[1];
    assert_eq!((x.name.as_str(), x.deferred), ("x", true));
    assert_eq!(x.depends_on, [evaluated.resources[0].id.clone()]);
    assert_eq!(x.properties()["plain"], "a");
    assert_eq!(evaluated.finish(x, &World).unwrap()["properties"]["vault"], "v1");
    let outputs = evaluated.outputs(&World).unwrap();
    assert_eq!(outputs["vault"].value, Some(json!("v1")));
    assert_eq!(outputs["full"].value, Some(json!("westus")));
    assert_eq!(outputs["secret"].value, None);
    assert_eq!(outputs["many"].value, Some(json!([0, 1])));
}

#[test]
fn everything_wrong_is_listed_at_once() {
    let errors = check(&template(json!({
        "variables": {"a": "[nosuch()]"},
        "resources": [{"name": "[variables('b')]", "x": "[parameters('c')]", "y": "[concat(]"}],
    })));
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["$.variables.a", "$.resources[0].name", "$.resources[0].x", "$.resources[0].y"]);
}

#[test]
fn values_that_explode_are_stopped() {
    let mut variables = serde_json::Map::new();
    variables.insert("v0".to_owned(), json!("xxxxxxxxxxxxxxxx"));
    for level in 1..60 {
        variables.insert(
            format!("v{level}"),
            json!(format!("[concat(variables('v{0}'), variables('v{0}'))]", level - 1)),
        );
    }
    let bomb = template(json!({"variables": variables}));
    let evaluator = Evaluator::new(&bomb, &BTreeMap::new(), &scope()).unwrap();
    assert!(evaluator.value(&json!("[variables('v40')]")).unwrap_err().message.contains("4 MB"));
    assert!(evaluator.value(&json!("[length(variables('v10'))]")).is_ok());
    let mut chain = serde_json::Map::new();
    for level in 0..2000 {
        chain.insert(format!("v{level}"), json!(format!("[variables('v{}')]", level + 1)));
    }
    let chain = template(json!({"variables": chain}));
    let evaluator = Evaluator::new(&chain, &BTreeMap::new(), &scope()).unwrap();
    assert!(evaluator.value(&json!("[variables('v0')]")).unwrap_err().message.contains("nested deeper"));
}

#[test]
fn deep_templates_are_refused_before_the_stack_ends() {
    let mut nested = json!("[toLower('X')]");
    for _ in 0..300 {
        nested = json!({"a": [nested]});
    }
    let error = evaluate(
        &template(
            json!({"variables": {"deep": nested}, "outputs": {"o": {"type": "object", "value": "[variables('deep')]"}}}),
        ),
        &BTreeMap::new(),
        &scope(),
    );
    assert!(error.unwrap_err().message.contains("nested deeper"));
    // The deepest expressions, in variables that need each other, in a thread with a small stack.
    let call = format!("[{}variables('v#'){}]", "toLower(".repeat(60), ")".repeat(60));
    let variables: serde_json::Map<_, _> = (0..50)
        .map(|level| (format!("v{level}"), json!({"x": {"y": call.replace('#', &(level + 1).to_string())}})))
        .collect();
    let template = template(json!({"variables": variables}));
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        Evaluator::new(&template, &BTreeMap::new(), &scope()).unwrap().value(&json!("[variables('v0')]"))
    });
    assert!(thread.unwrap().join().unwrap().unwrap_err().message.contains("nested deeper"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        any_expression().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop_oneof![
            "[a-z]{1,4}",
            prop::sample::select(vec![
                "copy",
                "name",
                "count",
                "input",
                "type",
                "apiVersion",
                "resources",
                "dependsOn",
                "condition",
                "value",
                "defaultValue"
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Text that is often nearly an expression.
fn any_expression() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "[",
        "]",
        "(",
        ")",
        ",",
        ".",
        "'",
        "''",
        "'a'",
        "'{0:D3}'",
        "1",
        "-1",
        "9223372036854775807",
        " ",
        "concat",
        "resourceId",
        "copyIndex",
        "parameters('p')",
        "variables('v')",
        "format",
        "substring",
        "padLeft",
        "split",
        "range",
        "é",
        "😀",
        "json",
        "reference",
        "take",
        "if",
        "createArray",
        "max",
        "replace",
        "indexOf",
    ]);
    prop::collection::vec(token, 0..14).prop_map(|tokens| format!("[{}]", tokens.concat()))
}

proptest! {
    #[test]
    fn no_text_makes_the_evaluator_panic(text in prop_oneof![any::<String>(), any_expression()]) {
        let _ = try_value(&text);
        let _ = try_value(&format!("[{text}]"));
    }

    #[test]
    fn no_call_makes_a_function_panic(name in "[a-z]{2,8}|padleft|substring|take|skip|range|format|indexof|first|last", arguments in prop::collection::vec(any_json(), 0..4)) {
        let _ = functions::call(&name, &arguments, &scope());
    }

    #[test]
    fn no_template_makes_the_evaluator_panic(
        parameters in any_json(), variables in any_json(), resources in prop::collection::vec(any_json(), 0..4), outputs in any_json(), whole in any_json(),
    ) {
        let _ = evaluate(&whole, &BTreeMap::new(), &scope());
        let template = template(json!({"parameters": parameters, "variables": variables, "resources": resources, "outputs": outputs}));
        check(&template);
        let _ = evaluate(&template, &BTreeMap::new(), &scope());
    }
}
