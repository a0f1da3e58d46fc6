#!/bin/bash
# The official FOCUS validator 2.2.1: it ends with 0 whatever fails, and every charge breaks a rule on InvoiceId.
#
# Its rules of FOCUS 1.2 say both that InvoiceId must be null (of charges on no invoice) and that it must not be null (of
# others), without the condition. It also reads its currencies relative to the folder that it is called in, and takes a
# quantity of `943` in a CSV file for no decimal. Needs Python 3.12, named by PYTHON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.12}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check focus-validator==2.2.1 'pyarrow<26'
home=$(echo "$folder"/venv/lib/python3.*/site-packages)

names="BilledCost,BillingAccountId,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,ChargeCategory"
names+=",ChargeClass,ChargeDescription,ChargeFrequency,ChargePeriodEnd,ChargePeriodStart,ContractedCost,EffectiveCost,InvoiceId"
names+=",InvoiceIssuerName,ListCost,PricingQuantity,PricingUnit,ProviderName,PublisherName,ServiceCategory"
names+=",ServiceName,ServiceSubcategory"
line() { # the InvoiceId, the PricingQuantity
    echo "0.50,a1,Acme,USD,2026-11-01T00:00:00Z,2026-10-01T00:00:00Z,Usage,,Tokens,Usage-Based,2026-10-06T00:00:00Z,2026-10-05T00:00:00Z,0.50,0.50,$1,Example,0.50,$2,Tokens,Example,Example,AI and Machine Learning,Inference,Generative AI"
}
validate() { # a file: the rules that fail, and the exit status
    (cd "$home" && "$folder/venv/bin/focus-validator" --data-file "$1" --validate-version 1.2.0.1 --block-download) \
        > "$folder/out" 2>&1 && status=0 || status=$?
    echo "exit $status, fails: $(grep -o '^❌ [^:]*' "$folder/out" | cut -d' ' -f2 | sort | tr '\n' ' ')"
}
expect() { # what it is about, what was expected, what was seen
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "this has changed; it was: $2"; exit 1; }
}

{ echo "$names"; line "" 943.0; } > "$folder/none.csv"
{ echo "$names"; line INV-1 943.0; } > "$folder/invoice.csv"
{ echo "$names"; line "" 943; } > "$folder/integer.csv"
expect "a charge on no invoice" "exit 0, fails: InvoiceId-C-005-C " "$(validate "$folder/none.csv")"
expect "a charge on an invoice" "exit 0, fails: InvoiceId-C-004-C " "$(validate "$folder/invoice.csv")"
expect "a quantity without a point" "exit 0, fails: InvoiceId-C-005-C PricingQuantity-C-000-M PricingQuantity-C-001-M " \
    "$(validate "$folder/integer.csv")"
(cd "$folder" && "$folder/venv/bin/focus-validator" --data-file none.csv --validate-version 1.2.0.1 --block-download) \
    > "$folder/out" 2>&1 && seen="works" || seen=$(grep -o "FileNotFoundError.*" "$folder/out" | tail -1)
expect "called in another folder" \
    "FileNotFoundError: [Errno 2] No such file or directory: 'focus_validator/rules/currency_codes.csv'" "$seen"
