// All texts that users read, by screen. Refusals are in refusals.js, formats of prices and times in format.js. Rules: plain
// English, sentence case, one name for each screen, and a button says what it does.
//
// tests/browser/texts.test.mjs checks that no other module contains such a text.

/** Names of the screens: headings, window titles, links in the navigation. */
export const screens = {
  forSale: "Tickets for sale",
  ticket: "Ticket",
  newTicket: "Create a ticket",
  listings: "My listings",
  orders: "My orders",
  order: "Order",
  signUp: "Sign up",
  signIn: "Sign in",
  account: "Account",
  forgot: "Forgot your password?",
  reset: "Set a new password",
  verify: "Confirm your email address",
  notFound: "Page not found",
};

export const texts = {
  navigation: {
    sell: "Sell tickets",
    signOut: "Sign out",
    signedOut: "You are signed out.",
    /** The email address follows. */
    signedInAs: "Signed in as ",
    connectionLost: "Connection lost. Reconnecting…",
    notLive: "Live updates are not available.",
    polling: "Live updates are not available. This page refreshes every few seconds.",
    connectedAgain: "You are connected again. Everything is up to date.",
    /** @param {string} email */
    otherUser: (email) => `You are now signed in as ${email} in this browser.`,
    nothingDone: "Your last action was not carried out.",
    switchAccount: "To use another account, sign out first.",
  },

  actions: {
    tryAgain: "Try again",
    seeTickets: "See tickets for sale",
    seeOrders: "See my orders",
    viewTicket: "View ticket",
  },

  trouble: {
    missing: "It may have been removed, or the address may be wrong.",
    forbidden: "You cannot see this page",
    failed: "This page could not be loaded",
  },

  status: {
    available: "Available",
    locked: "Locked",
    /** @param {string} countdown */
    lockedFor: (countdown) => `Locked · ${countdown} left`,
    lockEnded: "Available soon",
    sold: "Sold",
    gone: "No longer for sale",
  },

  form: {
    email: "Email",
    password: "Password",
    passwordHint: "8 to 128 characters",
    currentPassword: "Current password",
    newPassword: "New password",
    show: "Show",
    hide: "Hide",
    /** @param {string} label of the field */
    showLabel: (label) => `Show ${label.toLowerCase()}`,
    /** @param {string} label of the field */
    hideLabel: (label) => `Hide ${label.toLowerCase()}`,
    title: "Title",
    price: "Price",
    /** @param {string} currency */
    priceIn: (currency) => `Price in ${currency.toUpperCase()}`,
    /** @param {string} min @param {string} max */
    priceHint: (min, max) => `From ${min} to ${max}`,
    /** @param {string} min @param {string} max @param {string} example */
    priceInvalid: (min, max, example) =>
      `Enter an amount from ${min} to ${max}, such as 20 or ${example}.`,
    /** @param {string} typed @param {string} [thousands] @param {string} [decimals] the two meanings */
    priceAmbiguous: (typed, thousands, decimals) =>
      `“${typed}” has two meanings. Enter ${thousands} or ${decimals}.`,
    /** @param {number} left characters; negative when there are too many */
    titleLeft: (left) =>
      left < 0 ? `The title is ${characters(-left)} too long.` : `${characters(left)} left`,
  },

  sign: {
    createAccount: "Create account",
    creatingAccount: "Creating account…",
    signIn: "Sign in",
    signingIn: "Signing in…",
    haveAccount: "Already have an account?",
    noAccount: "New to GitTix?",
    continueSignIn: "Sign in to continue.",
    continueSignUp: "Sign up to continue.",
    draftSaved: "What you typed is saved.",
  },

  verify: {
    working: "Confirming…",
    /** @param {string} email */
    done: (email) => `${email} is confirmed.`,
    invalid: "This link is no longer valid.",
    resend: "Send the mail again",
    /** @param {string} email */
    resent: (email) => `A new mail is on its way to ${email}.`,
    look: "If it does not arrive in a few minutes, look in the spam folder.",
    /** @param {string} email */
    banner: (email) => `Confirm your email address: open the link in the mail to ${email}.`,
  },

  reset: {
    explanation:
      "Enter the email address of your account. You get a mail with a link that sets a new password.",
    request: "Send the mail",
    requesting: "Sending…",
    /** @param {string} email */
    requested: (email) => `If ${email} has an account, a mail is on its way to it.`,
    look: "If it does not arrive in a few minutes, look in the spam folder.",
    backToSignIn: "Back to sign in",
    set: "Set password and sign in",
    invalid: "This link is no longer valid.",
    requestAgain: "Request a new mail",
  },

  account: {
    emailHeading: "Email address",
    changeEmail: "Change email address",
    /** @param {string} email */
    emailPending: (email) =>
      `Open the link in the mail to ${email}. Until then, your email address stays as it is.`,
    emailUnchanged: "This is your email address already.",
    passwordHeading: "Password",
    changePassword: "Change password",
    passwordChanged: "Your password is changed.",
    othersSignedOut: "Your other devices are signed out.",
    saving: "Saving…",
    wrongPassword: "The current password is wrong.",
    checkPassword: "Check it and try again.",
  },

  list: {
    label: "Tickets",
    search: "Search tickets",
    searchExample: "Artist, team or show",
    searchButton: "Search",
    sortBy: "Sort by",
    newestFirst: "Newest first",
    lowestPrice: "Lowest price first",
    highestPrice: "Highest price first",
    /** @param {number} count @param {number} max the largest number that is counted */
    newTickets: (count, max) =>
      count === 1 ? "1 new ticket" : `${count > max ? `${max}+` : count} new tickets`,
    more: "Show more tickets",
    /** @param {string} search */
    nothingFound: (search) => `No tickets found for “${search}”`,
    searchHelp:
      "Search looks at the beginnings of the words in a title. Try fewer or shorter words.",
    nothingMatches: "No tickets match these filters",
    showAll: "Show all tickets",
    filters: "Filters",
    /** @param {string} price */
    priceFrom: (price) => `Price from ${price}`,
    /** @param {string} price */
    priceUpTo: (price) => `Price up to ${price}`,
    oneSeller: "Tickets from one seller",
    /** @param {string} filter */
    removeFilter: (filter) => `Remove filter: ${filter}`,
    badFilter: "This address had a filter with a value that is not valid.",
    badFilterRemoved: "It was removed. The list is shown without it.",
    searchTooLong: "This search is too long.",
    searchLimit: "Use at most 8 words and 200 characters.",
    clearSearch: "Clear search",
    empty: "No tickets for sale yet",
    emptyHelp: "New tickets appear here.",
    end: "These are all the tickets for sale right now.",
    endOfSearch: "These are all the tickets that match your search.",
  },

  ticket: {
    /** @param {string} when */
    listed: (when) => `Listed ${when}`,
    /** @param {string} when */
    listedByYou: (when) => `You listed this ticket ${when}`,
    spoken: {
      available: "This ticket is available.",
      locked: "Another buyer is paying for this ticket.",
      sold: "This ticket has been sold.",
      gone: "This ticket is no longer for sale.",
    },
    spokenToBuyer: {
      locked: "This ticket is reserved for you.",
      sold: "You bought this ticket.",
    },
    spokenToSeller: {
      available: "Your ticket is available again.",
      locked: "A buyer is paying for your ticket.",
      sold: "Your ticket has been sold.",
      gone: "Your ticket is no longer for sale.",
    },
    buy: "Buy",
    buying: "Reserving your ticket…",
    stillWaiting: "GitTix has not answered yet.",
    stillWaitingHelp: "The ticket is not reserved for you yet. We keep trying.",
    continueOrder: "Continue your order",
    signInToBuy: "Sign in to buy",
    reservedForYou: "This ticket is reserved for you.",
    lockedHint: "Another buyer is paying for this ticket.",
    /** @param {string} time */
    lockedUntil: (time) =>
      `Another buyer is paying for this ticket. If they do not pay, it will be available again by ${time}.`,
    lockEnded:
      "The reservation has ended. If the ticket was not paid for, it will be available again in a moment.",
    soldHint: "This ticket has been sold.",
    goneHint: "The seller took this ticket off sale, or it has been sold.",
    buyHint: "The ticket is reserved for you while you pay.",
    /** @param {string} duration */
    buyHintFor: (duration) => `The ticket is reserved for you while you pay. You have ${duration}.`,
    /** @param {string[]} labels of the changed fields */
    detailsChanged: (...labels) =>
      `The seller has changed ${conjunction(labels.map((label) => `the ${label.toLowerCase()}`))} of this ticket.`,
    /** @param {string} text of the first changed detail; it may be empty */
    detailBefore: (text) =>
      text
        ? `It was “${text}” before. Check the details before you buy.`
        : "Check the details before you buy.",
  },

  order: {
    /** @param {string} title */
    titleOf: (title) => `Order: ${title}`,
    /** @param {string} when */
    ordered: (when) => `Ordered ${when}`,
    timeLeftLabel: "Time left",
    timeToPay: "Reserved for you. Time left to pay:",
    timeToFinish: "Time left to finish your payment:",
    timeOver: "The time to pay has ended.",
    /** @param {string} time */
    payBy: (time) => `Pay by ${time}. After that, the order ends and you are not charged.`,
    /** @param {string} span */
    leftToPay: (span) => `${span} left to pay.`,
    bought: "It's yours.",
    /** @param {string} price */
    paid: (price) => `You paid ${price}. Enjoy the show!`,
    expired: "The time to pay for this order has ended.",
    cancelled: "You cancelled this order.",
    refunded: "Your payment was refunded.",
    notCharged: "You were not charged.",
    forSaleAgain: "The ticket is for sale again.",
    /** @param {string} time */
    availableBy: (time) => `The ticket will be available again by ${time}.`,
    mayBeAvailable: "The ticket may be available again.",
    payments: "Payments",
    /** @param {string} amount */
    chargePaid: (amount) => `${amount} paid`,
    /** @param {string} amount */
    chargeRefunded: (amount) => `${amount} refunded because the payment came too late`,
    chargeTooLate: "Not charged because the payment came too late",
    cancel: "Cancel this order",
    cancelQuestion: "If you cancel, other buyers can buy the ticket.",
    cancelYes: "Cancel order",
    cancelNo: "Keep order",
  },

  payment: {
    label: "Payment",
    /** @param {string} price */
    pay: (price) => `Pay ${price}`,
    paying: "Paying…",
    bankAsks: "Your bank wants you to confirm this payment.",
    bankHelp: "Confirm it, or pay with another card below.",
    confirm: "Confirm payment",
    notConfirmed: "Your bank has not confirmed the payment yet.",
    notConfirmedHelp: "Confirm it with your bank, then press the button again.",
    stillWaiting: "Still waiting for an answer…",
    notTwice: "You will not be charged twice.",
    chooseCard: "Choose a test card",
    /** @param {string} brand @param {string} digits */
    card: (brand, digits) => `${brand} ending in ${digits}`,
    accepted: "will be accepted",
    asks: "will ask you to confirm the payment",
    declined: "will be declined",
    declinedFunds: "will be declined because of insufficient funds",
    sandbox: "This is a test environment. No real money is charged.",
  },

  orders: {
    none: "You have no open orders.",
    past: "Past orders",
    more: "Show more orders",
    /** @param {string} countdown */
    leftToPay: (countdown) => `${countdown} left to pay`,
    /** @param {string} countdown */
    paymentOpen: (countdown) => `Payment not finished · ${countdown} left`,
    timeOver: "Time to pay has ended",
    /** @param {string} when */
    bought: (when) => `Bought · ${when}`,
    /** @param {string} when */
    expired: (when) => `Not paid in time · ${when}`,
    /** @param {string} when */
    cancelled: (when) => `Cancelled · ${when}`,
  },

  listings: {
    none: "You have no tickets listed.",
    more: "Show more listings",
  },

  newTicket: {
    titleExample: "Rock concert, row 3",
    button: "List ticket",
    busy: "Listing ticket…",
    done: "Your ticket is for sale.",
  },

  listing: {
    label: "Your listing",
    save: "Save changes",
    saving: "Saving…",
    saved: "Your changes are saved.",
    /** @param {string} price */
    buyersSee: (price) => `Buyers now see ${price}.`,
    forSale: "For sale. You can change this ticket or take it off sale.",
    locked: "A buyer is paying for this ticket. You can change it when it is available again.",
    lockEnded:
      "The reservation has ended. If the ticket was not paid for, you can change it again in a moment.",
    /** @param {string} price */
    sold: (price) => `Sold for ${price}.`,
    gone: "This ticket is no longer for sale.",
    lockedRefusal: "A buyer is paying for this ticket, so you cannot change it now.",
    lockedHelp: "What you typed stays here. Save it when the ticket is available again.",
    /** @param {string} title */
    titleChanged: (title) => `The title was changed to “${title}” while you were editing.`,
    /** @param {string} price */
    priceChanged: (price) => `The price was changed to ${price} while you were editing.`,
    /** @param {string} value */
    use: (value) => `Use “${value}”`,
    /** @param {string} value */
    keep: (value) => `Keep “${value}”`,
    notSaved: "Your changes are not saved yet.",
    chooseValue: "Choose below which value to keep, then save.",
    takeOff: "Take off sale",
    takeOffQuestion: "If you take this ticket off sale, buyers can no longer find or buy it.",
    takeOffYes: "Take ticket off sale",
    takeOffNo: "Keep ticket on sale",
  },
};

/** Returns the items as one phrase: "the title and the price". */
function conjunction(items) {
  return new Intl.ListFormat("en").format(items);
}

function characters(count) {
  return count === 1 ? "1 character" : `${count} characters`;
}
