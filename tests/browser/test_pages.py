"""Every page in a real browser, a phone's and a desk's width: what it shows, what it does."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from examples.loan_approval.decision import APPLICANT
from tests.browser.conftest import WIDTHS, Loans

SHOWN = (
    "/decide/loan_approval",
    "/decide/loan_approval?example=1",
    "/catalogue",
    "/catalogue?q=debt",
    "/catalogue/sources/credit_reports",
    "/catalogue/entities/zipcode",
    "/catalogue/views/zipcode_features",
    "/catalogue/features/credit_history.mortgage_due",
    "/catalogue/on_demand/total_debt_calc",
    "/catalogue/services/loan_features",
    "/catalogue/models/loan_approval",
    "/training-sets",
    "/parity",
    "/quarantine",
    "/streams",
    "/quality",
)


def opened(browser: Chrome, address: str, width: int = 1280) -> str:
    """Open a page at a width; gives its text."""
    logged(browser)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    return text_of(browser)


def text_of(browser: Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "main").text


def send(browser: Chrome, how: str = "document.querySelector('main form button').click()") -> None:
    """Leave the page, by its form's button if nothing else is said, and wait for the next one."""
    before = browser.find_element(By.TAG_NAME, "html")
    browser.execute_script(how)
    WebDriverWait(browser, 60).until(staleness_of(before))
    WebDriverWait(browser, 60).until(
        lambda one: one.execute_script("return document.readyState") == "complete"
    )


def logged(browser: Chrome) -> list[dict[str, Any]]:
    """What the browser complained of since it was asked last."""
    found: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return found


def require_whole(browser: Chrome) -> None:
    """The page fits its width, and the browser has nothing to complain of."""
    widths = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert widths[0] <= widths[1]
    assert logged(browser) == []


def row_of(browser: Chrome, first: str) -> list[str]:
    """The cells of the table row that begins with a text."""
    rows = browser.find_elements(By.CSS_SELECTOR, "tr")
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    [found] = [each for each in cells if each and each[0] == first]
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", SHOWN)
def test_a_page_fits_and_has_no_errors(browser: Chrome, pages: str, path: str, width: int) -> None:
    assert opened(browser, pages + path, width)
    assert browser.execute_script("return innerWidth") == width
    require_whole(browser)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_applicant_of_the_original_is_rejected(
    browser: Chrome, pages: str, loans: Loans, width: int
) -> None:
    assert loans.figures["decision"] == "Loan rejected!"
    opened(browser, f"{pages}/decide/loan_approval", width)
    for name, value in APPLICANT.items():
        browser.find_element(By.NAME, name).send_keys(str(value))
    send(browser)
    assert browser.find_element(By.CLASS_NAME, "said").text == "Loan rejected!"
    assert f"{100 * loans.figures['probability']:.1f}"[:3] in text_of(browser)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".reasons .for, .reasons .against")) > 3
    for name in ("city", "student_loan_due", "person_age"):
        status = loans.figures["vector"][name]["status"].replace("request", "given")
        assert status in row_of(browser, name)
    require_whole(browser)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_half_empty_form_says_what_is_missing(browser: Chrome, pages: str, width: int) -> None:
    opened(browser, f"{pages}/decide/loan_approval", width)
    browser.find_element(By.NAME, "zipcode").send_keys("76104")
    send(browser)
    wrong = [one.text for one in browser.find_elements(By.CLASS_NAME, "wrong-text")]
    assert len(wrong) == len(APPLICANT) - 1
    assert any(told.startswith("dob_ssn is missing") for told in wrong)
    assert browser.find_element(By.NAME, "zipcode").get_attribute("value") == "76104"


def test_counts_are_those_of_the_command(browser: Chrome, pages: str, loans: Loans) -> None:
    listed = loans.said("ls")
    opened(browser, f"{pages}/catalogue")
    for source in listed["sources"]:
        told = [f"{source[name]:,}" for name in ("read", "accepted", "duplicate", "quarantined")]
        assert row_of(browser, source["name"])[1:5] == told
    for view in listed["views"]:
        told = [f"{view[name]:,}" for name in ("features", "feature_rows", "online_rows")]
        assert row_of(browser, view["name"])[3:6] == told
    shown = loans.said("show", "credit_history")
    text = opened(browser, f"{pages}/catalogue/views/credit_history")
    assert f"{shown['publications'][-1]['online_rows']:,}" in text
    assert len(browser.find_elements(By.CSS_SELECTOR, ".card .histogram")) == 9


def test_a_training_set_has_its_receipt_and_its_run(
    browser: Chrome, pages: str, loans: Loans
) -> None:
    name = loans.figures["training_set"]
    opened(browser, f"{pages}/training-sets")
    assert f"{loans.figures['rows']:,}" in row_of(browser, name)
    send(browser, f"document.querySelector('td a[href$=\"{name}\"]').click()")
    text = text_of(browser)
    assert loans.figures["content"] in text
    assert loans.said("training-set", "show", name)["digest"] in text
    [version] = loans.said("lineage", "loan_approval")["model"]["versions"]
    assert version["run_id"] in text
    send(browser)
    assert "spine.fingerprint" in text_of(browser)
    require_whole(browser)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_quarantined_row_has_its_reasons(
    browser: Chrome, pages: str, loans: Loans, width: int
) -> None:
    waiting = loans.said("quarantine", "list", "credit_reports")
    assert waiting["waiting"] == 1
    text = opened(browser, f"{pages}/quarantine", width)
    for reason in waiting["rows"][0]["reasons"]:
        assert reason in text
    browser.find_element(By.CSS_SELECTOR, ".rows summary").click()
    assert "nobody's number" in text_of(browser)
    require_whole(browser)


def test_parity_is_started_from_its_page(browser: Chrome, pages: str, loans: Loans) -> None:
    opened(browser, f"{pages}/parity")
    field = browser.find_element(By.NAME, "keys")
    field.clear()
    field.send_keys("50")
    send(browser)
    assert "running" in browser.find_element(By.CSS_SELECTOR, ".job h3").text
    button = browser.find_element(By.CSS_SELECTOR, "main form button")
    assert not button.is_enabled()
    send(browser, "document.querySelector('main form').submit()")
    assert "runs already" in text_of(browser)
    assert ["409" in one["message"] for one in logged(browser)] == [True]
    opened(browser, f"{pages}/parity")

    def ended(_: Chrome) -> Any:
        return browser.find_elements(By.CSS_SELECTOR, ".job[data-status=done]")

    WebDriverWait(browser, 300).until(ended)
    verdict = browser.find_element(By.CSS_SELECTOR, ".report h2").text
    assert verdict == "holds all views"
    assert "0 of " in text_of(browser)
    assert loans.said("ls")
    require_whole(browser)
